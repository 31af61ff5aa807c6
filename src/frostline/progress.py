"""How long work reports: text lines through `logging`, bars through whatever the caller hands in.

The library draws nothing by itself; the command line passes a rich implementation.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from frostline.text import printable

log = logging.getLogger("frostline")


class Bar(Protocol):
    """A running progress bar."""

    def advance(self, amount: int) -> None:
        """Move on by that many units."""

    def note(self, text: str) -> None:
        """Show a short text beside the bar, e.g. the running loss."""


class Progress(Protocol):
    """Something that can show bars."""

    def bar(self, label: str, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Open a bar for ``total`` units."""


class _SilentBar:
    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class Silent:
    """Shows nothing: the default from Python."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Yield a bar that draws nothing."""
        yield _SilentBar()


class LogTarget(logging.FileHandler):
    """Log lines with times, in UTF-8; when the disk takes no more of them, the work goes on without.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        When the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
        self.setLevel(logging.INFO)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Leave out a line that the disk refuses; anything else is a defect."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, also when the disk refuses the last line."""
        with suppress(OSError):
            super().close()


class _OneLine(logging.Formatter):
    """A record's message as one line, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)
