"""What a person sees: lines, bars and tables on a terminal; plain lines elsewhere; nothing with --quiet."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from frostline._utils.progress import Bar, Progress, Silent, listening, log, visible
from frostline._utils.text import printable
from frostline.errors import DataError
from frostline.evaluation.metrics import most_confused

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


ALL_CLASSES = 30  # so many are printed in full
WORST_CLASSES = 20


def show_results(screen: Screen, results: dict[str, Any], title: str) -> None:
    """Print overall numbers of the test split, one line per class, and the most confused pairs.

    Without a test split these are the validation's, and it is said.
    """
    split = "test" if results["test"] else "val"
    test, calibration = results[split], results.get("calibration")
    if split == "val":
        title = "validation split"
        screen.say("there is no test split: nothing measured the accuracy on new images. Settings were chosen by the")
        screen.say("validation images, so these figures are too good:")
    low, high = test["accuracy_ci95"]
    overall = [
        ["accuracy", f"{test['accuracy']:.4f}"],
        ["  95 % interval", f"{low:.4f} - {high:.4f}"],
        ["loss", f"{test['loss']:.4f}"],
        ["top-5 accuracy", f"{test['top5_accuracy']:.4f}"],
        ["macro F1", f"{test['f1_macro']:.4f}"],
        ["ECE", f"{test['ece']:.4f}"],
        ["images", f"{test['images']:,}"],
    ]
    if calibration:
        overall.insert(-1, ["  uncalibrated", f"{calibration[split]['ece']['before']:.4f}"])
    screen.table([title, ""], overall)
    screen.say("")
    _show_classes(screen, test["per_class"])
    pairs = most_confused(test["confusion"], list(test["per_class"]))
    if pairs:
        screen.say("")
        screen.table(["most confused: truth", "taken for", "images"], [[a, b, str(n)] for a, b, n in pairs], left=2)


def _show_classes(screen: Screen, per_class: dict[str, dict[str, float]]) -> None:
    """Print a line for each class; of many the worst alone, and the mean."""
    columns = ["class", "precision", "recall", "F1", "images"]
    if len(per_class) <= ALL_CLASSES:
        screen.table(columns, [_class_row(name, line) for name, line in per_class.items()])
        return
    tested = {name: line for name, line in per_class.items() if line["support"]}
    worst = sorted(tested, key=lambda name: (tested[name]["f1"], -tested[name]["support"], name))[:WORST_CLASSES]
    mean = {key: sum(line[key] for line in tested.values()) / len(tested) for key in ("precision", "recall", "f1")}
    total = sum(line["support"] for line in tested.values())
    rows = [_class_row(name, tested[name]) for name in worst]
    rows.append(_class_row(f"mean of {len(tested):,} classes", mean | {"support": total}))
    screen.table(columns, rows, title=f"the {len(worst)} classes with the lowest F1 (metrics.json has all)")


def _class_row(name: str, line: dict[str, float]) -> list[str]:
    return [name, *(f"{line[key]:.4f}" for key in ("precision", "recall", "f1")), f"{line['support']:,}"]


class Unread:
    """Which images of some could not be used.

    Parameters
    ----------
    total : int
        How many there are in all.
    """

    def __init__(self, total: int) -> None:
        self._total, self._count, self._first = total, 0, ""

    def tell(self, faults: Iterable[tuple[Path, str]]) -> None:
        """Name files with what is wrong with them."""
        for path, reason in faults:
            self._first = self._first or f"{path} {reason}"
            self._count += 1
            log.warning("%s %s", path, reason)

    def conclude(self, screen: Screen, *, strict: bool) -> None:
        """Say how many there were.

        Raises
        ------
        DataError
            When there were only such images, or some and ``strict``.
        """
        if self._count == self._total:
            raise DataError(f"none of {self._total:,} images could be read; {self._first}.")
        if self._count and strict:
            raise DataError(f"{self._count:,} of {self._total:,} images could not be read (--strict); {self._first}.")
        if self._count:
            screen.say(f"warning: {self._count:,} of {self._total:,} images could not be read; the others were used")
