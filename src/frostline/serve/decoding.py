"""Image files to pixels: cheap ones together and quickly, costly ones one at a time and out of their way."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frostline._utils.device import cores
from frostline._utils.progress import log
from frostline.data.decoding.decoder import Decoded, Decoders
from frostline.data.levels import Levels
from frostline.errors import DataError
from frostline.serve.batcher import Batcher
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.schemas import ProblemError, bad_image, busy

Pixels = NDArray[np.uint8]
PROCESSES = max(2, min(4, cores()))  # for cheap images; `Decoders` of one count share theirs, so it is not 1
SMALLEST = b"GIF87a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


class Decoding:
    """The processes that decode, and the costly images that wait for theirs.

    Parameters
    ----------
    side : int or None
    levels : Levels or None
        See `frostline.data.decoding.decode.decode_image`, for both.
    limits : Limits
    """

    def __init__(self, side: int | None, levels: Levels | None, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = 3 * (2 * side) ** 2 if side else 3 * limits.pixels  # of a decoded image
        self._held = 0  # bytes of decoded images
        how = (side, FORMATS, limits.pixels, levels)
        self._shared, self._own = Decoders(PROCESSES, *how, eager=True), Decoders(1, *how)
        alone = replace(limits, enough=1, batch=1, queue=limits.costly_queue)
        self._costly = Batcher[bytes, Decoded](self._own.decode, alone)

    async def warm_up(self) -> None:
        """Start the processes."""
        shared = (asyncio.to_thread(self.together, [SMALLEST]) for _ in range(PROCESSES))
        await asyncio.gather(self.alone(SMALLEST), *shared)

    def close(self) -> None:
        """Drop what waits."""
        self._costly.close()
        self._shared.close()
        self._own.close()

    @contextmanager
    def room(self, count: int) -> Iterator[None]:
        """Hold memory for the pixels of so many images until they are answered.

        Raises
        ------
        ProblemError
            503, when all requests together hold too much.
        """
        needed = count * self._most_bytes
        if self._held and self._held + needed > self._limits.square_bytes:
            raise busy("too many images at the same time: try again in a moment.")
        self._held += needed
        try:
            yield
        finally:
            self._held -= needed

    def together(self, images: Sequence[bytes]) -> list[Pixels | ProblemError]:
        """Return the pixels of each of some cheap images, or why there are none."""
        try:
            return [_judged(one) for one in self._shared.decode(images, at_once=max(1, len(images)))]
        except DataError as error:
            return [_failed(error)] * len(images)

    async def alone(self, data: bytes) -> Pixels | ProblemError:
        """Return the pixels of a costly image, when it has been its turn, or why there are none."""
        try:
            with self._costly.admit(1):
                async with asyncio.timeout(self._limits.costly_seconds):
                    return _judged((await self._costly.classify([data]))[0])
        except (TimeoutError, ProblemError):
            return busy("is costly to decode, and others wait: try again in a moment, or send a smaller image.")
        except DataError as error:
            return _failed(error)


def _judged(decoded: Decoded) -> Pixels | ProblemError:
    if isinstance(decoded, np.ndarray):
        return decoded
    return bad_image(str(decoded).removeprefix("the image "))


def _failed(error: DataError) -> ProblemError:
    """Return the problem of images that this machine cannot decode now: it is not theirs."""
    log.error("%s", error)
    return busy("cannot be decoded now: try again in a moment.")
