"""Terminal output: log lines, progress bars and tables; without bars in a pipe, and nothing but errors with --quiet."""

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from frostline._utils.progress import Progress, Silent, listening, log, visible
from frostline._utils.terminal import ConsoleHandler, RichBars
from frostline._utils.text import printable
from frostline.errors import DataError

MEBIBYTE = 1 << 20


class Screen:
    """The output of a command.

    Parameters
    ----------
    quiet : bool
        Print only errors.
    verbose : bool
        Print the details of the log, too.
    stderr : bool
        Print to standard error, because standard output carries data.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = True, stderr: bool = False) -> None:
        file = sys.stderr if stderr else sys.stdout
        width = None if file.isatty() else 10_000  # a table in a file is not folded
        self.console = Console(file=file, quiet=quiet, width=width)
        bars = RichBars(self.console) if self.console.is_terminal else visible(None)
        self.progress: Progress = Silent() if quiet else bars
        self._level = logging.DEBUG if verbose else logging.INFO

    @contextmanager
    def show_log(self) -> Iterator[None]:
        """Print the library's log lines while a command runs."""
        with listening(ConsoleHandler(self.console, self._level)):
            yield

    def table(self, columns: list[str], rows: list[list[str]], *, title: str = "", left: int = 1) -> None:
        """Print a table; the first ``left`` columns are text, the others numbers."""
        table = Table(
            title=printable(title) or None, title_justify="left", box=None, pad_edge=False, header_style="bold"
        )
        for number, name in enumerate(columns):
            text = number < left  # on a narrow terminal, text is wrapped rather than cut off
            table.add_column(printable(name), justify="left" if text else "right", no_wrap=not text, overflow="fold")
        for row in rows:
            table.add_row(*(Text(printable(cell)) for cell in row))
        self.console.print(table)

    def print(self, *lines: str) -> None:
        """Print plain lines, with control characters escaped."""
        for line in lines:
            self.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


def size_text(count: float) -> str:
    """Return a size in bytes as MiB or GiB."""
    return f"{count / (MEBIBYTE * 1024):.2f} GiB" if count >= MEBIBYTE * 1024 else f"{count / MEBIBYTE:.1f} MiB"


class UnreadableImages:
    """Counts and reports the images that cannot be read, out of ``total``."""

    def __init__(self, total: int) -> None:
        self._total, self._count, self._first = total, 0, ""

    def report(self, problems: Iterable[tuple[Path, str]]) -> None:
        """Log a warning for each file, with the reason."""
        for path, reason in problems:
            self._first = self._first or f"{path} {reason}"
            self._count += 1
            log.warning("%s %s", path, reason)

    def conclude(self, screen: Screen, *, strict: bool) -> None:
        """Print how many images could not be read.

        Raises
        ------
        DataError
            If no image could be read, or with ``strict`` if any could not.
        """
        if self._count == self._total:
            raise DataError(f"none of {self._total:,} images could be read; {self._first}.")
        if self._count and strict:
            raise DataError(f"{self._count:,} of {self._total:,} images could not be read (--strict); {self._first}.")
        if self._count:
            screen.print(f"warning: {self._count:,} of {self._total:,} images could not be read; the others were used")
