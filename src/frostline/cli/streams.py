"""Standard output and standard error that survive encoding errors, a closed pipe and a full disk.

Characters that the encoding lacks are escaped. Once a write fails, further output is dropped and the command continues:
a reader that closed the pipe (`train … | head -1`) is not an error; after a full disk the command exits with 2 at its
end. A command whose output is its result (`predict`) writes with `write_result`, which stops it instead.
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

CLOSED_PIPE = frozenset({errno.EPIPE, errno.ESHUTDOWN, errno.ECONNRESET})


class ReaderGone(Exception):  # noqa: N818 - not an error
    """The reader of standard output has closed it; a command that only prints results ends quietly."""


class _ResilientRaw(io.RawIOBase):
    """A raw stream that drops all data after the first failed write, whose error it keeps."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def write(self, data: Any) -> int:
        while self.failure is None:
            try:
                written = self._raw.write(data)
            except OSError as error:
                self.failure = error
                self._redirect_to_null()
                break
            if written is not None:
                return int(written)
            select.select([], [self.fileno()], [])  # a non-blocking stream: wait for its reader
        return memoryview(data).nbytes

    def _redirect_to_null(self) -> None:
        """Also drop what child processes and C libraries write to the file descriptor."""
        with suppress(OSError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)


class _ResilientStream(io.TextIOWrapper):
    """Standard output or standard error on a `_ResilientRaw`."""

    def __init__(self, original: TextIO) -> None:
        self.raw = _ResilientRaw(getattr(original.buffer, "raw", original.buffer))
        super().__init__(
            io.BufferedWriter(self.raw),
            encoding=original.encoding,
            errors="backslashreplace",
            line_buffering=bool(original.line_buffering or getattr(original, "write_through", False)),
        )


@contextmanager
def resilient_streams() -> Iterator[Callable[[], StorageError | None]]:
    """Replace the standard streams by resilient ones; yield a function that returns the error of standard output.

    A closed pipe is not an error.
    """
    _open_closed()
    originals = sys.stdout, sys.stderr
    for original in originals:
        with suppress(OSError):
            original.flush()
    sys.stdout, sys.stderr = (_resilient(original) for original in originals)
    try:
        yield _failure
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = originals


def write_result(text: str) -> None:
    """Write a part of a command's result to standard output, and flush it.

    Raises
    ------
    ReaderGone
        If the reader has closed standard output.
    StorageError
        If it cannot be written.
    """
    sys.stdout.write(text)
    failure = _failure()
    if failure is not None:
        raise failure
    if isinstance(sys.stdout, _ResilientStream) and sys.stdout.raw.failure is not None:
        raise ReaderGone


def _failure() -> StorageError | None:
    sys.stdout.flush()
    failure = sys.stdout.raw.failure if isinstance(sys.stdout, _ResilientStream) else None
    if failure is None or failure.errno in CLOSED_PIPE:
        return None
    return stream_error(failure, "standard output")


def _resilient(original: TextIO) -> TextIO:
    return _ResilientStream(original) if hasattr(original, "buffer") else original  # not in a notebook


def _open_closed() -> None:
    """Open streams that were closed before the start (`>&-`), so that no other file gets their descriptors."""
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
