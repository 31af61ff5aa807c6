"""Progress bars and log lines on a terminal, drawn by rich; log lines alone where there is no terminal."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from frostline._utils.progress import Bar, NotebookBars, Progress, Silent, in_notebook, listening, log
from frostline._utils.text import printable

MEBIBYTE = 1 << 20


class _Amount(ProgressColumn):
    """Column with done, total and rate: bytes in MiB, everything else as counts."""

    def render(self, task: Task) -> Text:
        unit = str(task.fields["unit"])
        speed = task.finished_speed or task.speed or 0.0
        if unit == "B":
            total = f"{(task.total or 0) / MEBIBYTE:.1f}"
            return Text(f"{task.completed / MEBIBYTE:.1f}/{total} MiB  {speed / MEBIBYTE:.1f} MiB/s")
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} {unit}  {speed:,.0f}/s")


class _RichBar:
    def __init__(self, progress: RichProgress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, amount: int) -> None:
        self._progress.advance(self._task, amount)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)


class RichBars:
    """Progress bars with a rate and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Draw one bar, and remove it when the block ends."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        # A command may write data to standard output meanwhile: rich must not capture it.
        with RichProgress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as progress:
            yield _RichBar(progress, progress.add_task(label, total=total, unit=unit, note=""))


class ConsoleHandler(logging.Handler):
    """Log lines of a level or above without times, on a console; warnings say so."""

    def __init__(self, console: Console, level: int = logging.INFO) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self._console.print(prefix + printable(record.getMessage()), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def reporting(progress: Progress | None, verbose: int) -> Iterator[Progress]:
    """Yield what shows the progress of work that Python code starts, and print its log lines meanwhile.

    Parameters
    ----------
    progress : Progress or None
        Whoever passes one prints log lines, too: nothing is added.
    verbose : int
        0: nothing is shown. Otherwise a notebook gets bars, and a script lines on standard error, with bars if that is
        a terminal. Lines are left to `logging` where it is configured.
    """
    if progress is not None or not verbose:
        yield progress or Silent()
    elif in_notebook():
        yield NotebookBars()
    else:
        console = Console(stderr=True)
        with nullcontext() if log.hasHandlers() else listening(ConsoleHandler(console)):
            yield RichBars(console) if console.is_terminal else Silent()
