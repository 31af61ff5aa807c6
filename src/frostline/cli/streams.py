"""Standard output and standard error as a command uses them: no character and no reader can end its work.

What an encoding lacks is escaped. Once a stream fails, its output is dropped and the work goes on: when the reader has
gone (`train … | head -1`) that is no error; when the disk behind it is full, the command says so at its end and exits
with 2. A command whose output is its result (`predict`) writes it by `write_result` and stops instead.
"""

import errno
import io
import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from frostline.errors import StorageError, stream_error

READER_GONE = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET})


class ReaderGone(Exception):  # noqa: N818 - it is the reader's right
    """Whoever read standard output has stopped: a command that has nothing else to do ends quietly."""


class _Lasting(io.RawIOBase):
    """A stream's lowest layer, which drops what it is given once a write has failed, and remembers why."""

    def __init__(self, lowest: Any) -> None:
        self._lowest = lowest
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._lowest.fileno())

    def isatty(self) -> bool:
        return bool(self._lowest.isatty())

    def write(self, data: Any) -> int:
        while self.failure is None:
            try:
                written = self._lowest.write(data)
            except OSError as error:
                self.failure = error
                self._drop_the_rest()
                break
            if written is not None:
                return int(written)
            select.select([], [self.fileno()], [])  # somebody made it non-blocking: wait for its reader
        return memoryview(data).nbytes

    def _drop_the_rest(self) -> None:
        """Let what processes of ours and libraries in C write there go nowhere, too."""
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


class _Stream(io.TextIOWrapper):
    """Standard output or standard error over a layer that lasts."""

    def __init__(self, original: TextIO) -> None:
        lowest = getattr(original.buffer, "raw", original.buffer)
        self.layer = _Lasting(lowest)
        super().__init__(
            io.BufferedWriter(self.layer),
            encoding=original.encoding,
            errors="backslashreplace",
            line_buffering=bool(original.line_buffering or getattr(original, "write_through", False)),
        )


@contextmanager
def lasting_streams() -> Iterator[Callable[[], StorageError | None]]:
    """Use streams that last while a command runs; yield what says whether standard output failed.

    A reader that has gone counts as no failure.
    """
    _open_closed()
    originals = sys.stdout, sys.stderr
    for original in originals:
        with suppress(OSError):
            original.flush()
    sys.stdout, sys.stderr = (_lasting(original) for original in originals)
    try:
        yield _failure
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = originals


def write_result(text: str) -> None:
    """Write a part of a command's result to standard output, now.

    Raises
    ------
    ReaderGone
        When nobody reads it any more.
    StorageError
        When it cannot be written.
    """
    sys.stdout.write(text)
    failure = _failure()
    if failure is not None:
        raise failure
    if isinstance(sys.stdout, _Stream) and sys.stdout.layer.failure is not None:
        raise ReaderGone


def _failure() -> StorageError | None:
    sys.stdout.flush()
    failure = sys.stdout.layer.failure if isinstance(sys.stdout, _Stream) else None
    gone = failure is None or failure.errno in READER_GONE
    return None if failure is None or gone else stream_error(failure, "standard output")


def _lasting(original: TextIO) -> TextIO:
    return _Stream(original) if hasattr(original, "buffer") else original  # a notebook's has none


def _open_closed() -> None:
    """Give a stream that was closed before the start (`>&-`) a place, or the next file that is opened takes it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
