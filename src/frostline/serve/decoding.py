"""Decoding of uploaded files: cheap images in batches, costly ones one at a time in a process of their own."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frostline._utils.machine import cores
from frostline._utils.progress import log
from frostline.data.decoding.decoder import Decoded, Decoders
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import DataError
from frostline.serve.batcher import Batcher
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.schemas import ProblemError, bad_image, busy

Pixels = NDArray[np.uint8]
PROCESSES = max(2, min(4, cores()))  # for cheap images; never 1, since `Decoders` with the same count share processes
TINY_GIF = b"GIF87a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


class UploadDecoder:
    """Decoding processes, and the queue of costly images.

    Parameters
    ----------
    target, levels
        See `frostline.data.decoding.decode.decode_image`.
    """

    def __init__(self, target: Target | None, levels: Levels | None, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = 3 * (2 * target.side) ** 2 if target else 3 * limits.pixels  # of a decoded image
        self._reserved = 0  # bytes
        options = (target, FORMATS, limits.pixels, levels)
        self._cheap, self._costly = Decoders(PROCESSES, *options, eager=True), Decoders(1, *options)
        one_at_a_time = replace(limits, min_batch=1, batch=1, queue=limits.costly_queue)
        self._queue = Batcher[bytes, Decoded](self._costly.decode, one_at_a_time)

    async def warm_up(self) -> None:
        """Start the processes."""
        cheap = (asyncio.to_thread(self.decode_batch, [TINY_GIF]) for _ in range(PROCESSES))
        await asyncio.gather(self.decode_costly(TINY_GIF), *cheap)

    def close(self) -> None:
        """Drop the waiting images and stop the processes."""
        self._queue.close()
        self._cheap.close()
        self._costly.close()

    @contextmanager
    def reserve(self, count: int) -> Iterator[None]:
        """Reserve memory for the pixels of images until they are answered; too many raise a 503 problem."""
        needed = count * self._most_bytes
        if self._reserved and self._reserved + needed > self._limits.pixel_bytes:
            raise busy("too many images at the same time: try again in a moment.")
        self._reserved += needed
        try:
            yield
        finally:
            self._reserved -= needed

    def decode_batch(self, images: Sequence[bytes]) -> list[Pixels | ProblemError]:
        """Return the pixels of each cheap image, or its problem."""
        try:
            decoded = self._cheap.decode(images, at_once=max(1, len(images)))
            return [_pixels_or_problem(result) for result in decoded]
        except DataError as error:
            return [_unavailable(error)] * len(images)

    async def decode_costly(self, image: bytes) -> Pixels | ProblemError:
        """Return the pixels of a costly image after those in the queue before it, or its problem."""
        try:
            with self._queue.admit(1):
                async with asyncio.timeout(self._limits.costly_seconds):
                    return _pixels_or_problem((await self._queue.classify([image]))[0])
        except (TimeoutError, ProblemError):
            return busy("is costly to decode, and others wait: try again in a moment, or send a smaller image.")
        except DataError as error:
            return _unavailable(error)


def _pixels_or_problem(decoded: Decoded) -> Pixels | ProblemError:
    if isinstance(decoded, np.ndarray):
        return decoded
    return bad_image(str(decoded).removeprefix("the image "))


def _unavailable(error: DataError) -> ProblemError:
    """Return the problem of images that cannot be decoded because of the server, not because of their content."""
    log.error("%s", error)
    return busy("cannot be decoded now: try again in a moment.")
