"""How long work reports: text lines through `logging`, bars through whatever the caller hands in.

The command line, and `fit` from a script, pass bars that rich draws on a terminal (`frostline._utils.terminal`). A
notebook gets bars of its own (`visible`), and everything else nothing unless it passes some.
"""

import html
import logging
import logging.handlers
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol, TextIO

from frostline._utils.storage import OTHER_OUTPUT_DIR
from frostline._utils.text import printable
from frostline.errors import storage_error

log = logging.getLogger("frostline")  # INFO: what every user reads once per run; DEBUG: details, `--verbose`

REDRAWN_AFTER = 0.2  # seconds


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


class _NotebookBar:
    """A bar in the output of a notebook's cell."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        from IPython.display import display

        self._label, self._total, self._unit = label, total, unit
        self._done, self._note = 0, ""
        self._begun = self._drawn = time.monotonic()
        self._handle = display(self._image, raw=True, display_id=True)

    @property
    def _image(self) -> dict[str, str]:
        """What is shown, by MIME type: done, total, rate and the seconds left."""
        rate = self._done / max(time.monotonic() - self._begun, 1e-9)
        left = f", {(self._total - self._done) / rate:,.0f} s left" if rate else ""
        amount = f"{self._done:,}/{self._total:,} {self._unit}, {rate:,.0f}/s{left}"
        text = printable(f"{self._label}  {amount}  {self._note}".rstrip())
        bar = f"<progress value='{self._done}' max='{max(self._total, 1)}'></progress>"
        return {"text/plain": text, "text/html": f"{bar} {html.escape(text)}"}

    def advance(self, amount: int) -> None:
        self._done += amount
        self._redraw()

    def note(self, text: str) -> None:
        self._note = text
        self._redraw()

    def _redraw(self) -> None:
        if time.monotonic() - self._drawn > REDRAWN_AFTER:
            self._drawn = time.monotonic()
            self._handle.update(self._image, raw=True)

    def close(self) -> None:
        self._handle.update({"text/plain": "", "text/html": ""}, raw=True)


class NotebookBars:
    """Bars in a notebook, drawn through IPython's display alone."""

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Bar]:
        """Draw one bar; it goes when it is done."""
        bar = _NotebookBar(label, total, unit)
        try:
            yield bar
        finally:
            bar.close()


def in_notebook() -> bool:
    """Whether this code runs in the kernel of a notebook; IPython on a terminal is none."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def visible(progress: Progress | None) -> Progress:
    """Return what shows bars: what was passed, else bars in a notebook, else nothing."""
    if progress is not None:
        return progress
    return NotebookBars() if in_notebook() else Silent()


@contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """Hand the library's log lines, from the handler's level on, to it as well."""
    level = log.level
    if log.getEffectiveLevel() > handler.level:
        log.setLevel(handler.level)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class LogFile(logging.handlers.MemoryHandler):
    """Holds the library's log lines until there is a file for them."""

    def __init__(self) -> None:
        super().__init__(capacity=sys.maxsize, flushLevel=sys.maxsize)
        self.setLevel(logging.DEBUG)

    def write_to(self, path: Path) -> None:
        """Append the lines so far and those to come, with times, to a file.

        Raises
        ------
        StorageError
        """
        try:
            target = _LogTarget(path)
        except OSError as error:
            raise storage_error(error, path, OTHER_OUTPUT_DIR) from error
        self.setTarget(target)
        self.flush()
        self.capacity = 1

    def close(self) -> None:
        """Close the file, too."""
        target = self.target
        super().close()
        if target is not None:
            target.close()


class _LogTarget(logging.FileHandler):
    """Log lines with times, in UTF-8; lines that the disk refuses are dropped."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s"))
        self.setLevel(logging.DEBUG)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # the disk may refuse the last line
            super().close()


@contextmanager
def log_lines() -> Iterator[LogFile]:
    """Collect the library's log lines, to be written to a file later."""
    lines = LogFile()
    try:
        with listening(lines):
            yield lines
    finally:
        lines.close()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Also write the library's log lines, with times, to a file."""
    with log_lines() as lines:
        lines.write_to(path)
        yield


class LineHandler(logging.StreamHandler[TextIO]):
    """Log lines without times, on a stream."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self.setLevel(logging.DEBUG)
        self.setFormatter(_OneLine())


class _OneLine(logging.Formatter):
    """A record's message as one line, whatever names are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)
