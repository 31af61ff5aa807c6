"""What a person sees: lines, bars and tables on a terminal; plain lines elsewhere; nothing with --quiet."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from frostline._utils.progress import Bar, Progress, Silent, listening, visible
from frostline._utils.text import printable

MEBIBYTE = 1 << 20


class _Amount(ProgressColumn):
    """Done, total and rate: bytes in MiB, everything else as counts."""

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
    """Bars with a rate and the time left."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Draw one bar; it goes when it is done, the lines stay."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            _Amount(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        # What a command writes to standard output meanwhile is data: rich must not draw it above the bar.
        with RichProgress(
            *columns, console=self._console, transient=True, redirect_stdout=False, redirect_stderr=False
        ) as progress:
            yield _RichBar(progress, progress.add_task(label, total=total, unit=unit, note=""))


class _Lines(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "warning: " if record.levelno >= logging.WARNING else ""
        self._console.print(prefix + printable(record.getMessage()), markup=False, highlight=False, soft_wrap=True)


class Screen:
    """Where a command speaks.

    Parameters
    ----------
    quiet : bool
        Say nothing but errors.
    stderr : bool
        Lines and bars go to standard error, because standard output carries data.
    """

    def __init__(self, *, quiet: bool = False, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        self.console = Console(file=file, quiet=quiet, width=_width(file))
        self.progress: Progress = Silent() if quiet else self._bars()

    def _bars(self) -> Progress:
        return RichBars(self.console) if self.console.is_terminal else visible(None)

    @contextmanager
    def lines(self) -> Iterator["Screen"]:
        """Show the library's log lines while a command runs."""
        with listening(_Lines(self.console)):
            yield self

    def table(self, columns: list[str], rows: list[list[str]], *, title: str = "", left: int = 1) -> None:
        """Print a table; the first ``left`` columns are text, the others numbers."""
        table = Table(
            title=printable(title) or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        for number, name in enumerate(columns):
            text = number < left  # on a narrow terminal text goes on in the next line: nothing is cut off
            table.add_column(printable(name), justify="left" if text else "right", no_wrap=not text, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(table)

    def say(self, *lines: str) -> None:
        """Print plain lines; what is no printable character in them is escaped."""
        for line in lines:
            self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def _width(stream: TextIO) -> int | None:
    """Return a fixed width where the stream is no terminal: a table in a file must not be squeezed."""
    return None if stream.isatty() else 10_000


def size_text(count: float) -> str:
    """Return a size in bytes as MiB or GiB."""
    return f"{count / (MEBIBYTE * 1024):.2f} GiB" if count >= MEBIBYTE * 1024 else f"{count / MEBIBYTE:.1f} MiB"
