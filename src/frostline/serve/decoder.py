"""A process that decodes images and can be killed: what it decodes costs neither the server's life nor its memory."""

import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.errors import DataError
from frostline.images.decode import decode_image

Pixels = NDArray[np.uint8]
Decoded = Pixels | DataError
GRACE = 10  # by how much more time than processor time may pass: the machine has other work, too


class Decoder:
    """One process; it is started anew when an image has ended it.

    Parameters
    ----------
    side : int, optional
        See `frostline.images.decode.decode_image`, for ``formats`` and ``max_pixels``, too.
    formats : tuple of str
    max_pixels : int
    seconds : float
        Of processor time that an image may cost.
    memory : int
        Bytes that decoding an image may need.
    give_way : int
        Its niceness.
    """

    def __init__(
        self,
        side: int | None,
        formats: tuple[str, ...],
        max_pixels: int,
        seconds: float,
        memory: int,
        give_way: int = 0,
    ) -> None:
        self._seconds = seconds
        self._arguments = (side, formats, max_pixels, seconds, memory, give_way)
        self._process: BaseProcess | None = None
        self._start()

    def __call__(self, images: Sequence[bytes]) -> list[Decoded]:
        """Decode some images; one that ends the process is refused, and the others are decoded in the next."""
        decoded: list[Decoded] = []
        while len(decoded) < len(images):
            decoded += self._decode(images[len(decoded) :])
        return decoded

    def _decode(self, images: Sequence[bytes]) -> list[Decoded]:
        decoded: list[Decoded] = []
        try:
            self._pipe.send(images)
            for _ in images:
                if not self._pipe.poll(GRACE * self._seconds):
                    break
                decoded.append(self._pipe.recv())
            else:
                return decoded
        except (EOFError, OSError):
            pass
        self.close()
        self._start()
        return [*decoded, DataError(f"takes more than {self._seconds:g} s to decode: send a simpler image.")]

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self._arguments), daemon=True)
        with _starting():
            self._process.start()
        theirs.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process = None


@contextmanager
def _starting() -> Iterator[None]:
    """Keep the user's script from the new process, which would run it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(
    pipe: Connection,
    side: int | None,
    formats: tuple[str, ...],
    max_pixels: int,
    seconds: float,
    memory: int,
    give_way: int,
) -> None:
    """Decode what comes until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server answers it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(os, "nice"):
        os.nice(give_way)
    _bound(memory)
    timed = hasattr(signal, "setitimer")
    while True:
        try:
            images = pipe.recv()
        except (EOFError, OSError):
            return
        for data in images:
            if timed:
                signal.setitimer(signal.ITIMER_PROF, seconds)  # at its end the process is killed
            try:
                decoded: Decoded = decode_image(data, side, formats, max_pixels)
            except DataError as error:
                decoded = DataError(str(error))
            if timed:
                signal.setitimer(signal.ITIMER_PROF, 0)
            pipe.send(decoded)


def _bound(memory: int) -> None:
    try:
        import resource
    except ImportError:
        return
    used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (used + memory, used + memory))
