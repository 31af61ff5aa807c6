"""Image files to pixels: cheap ones together and quickly, costly ones one at a time and out of their way."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frostline.device import cores
from frostline.errors import DataError
from frostline.images.decoders import Decoded, Decoders
from frostline.images.levels import Levels
from frostline.progress import log
from frostline.serve.batcher import Batcher
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.problems import ProblemError, bad_image, busy

Pixels = NDArray[np.uint8]
PROCESSES = max(2, min(4, cores()))  # for cheap images; `Decoders` of one count share theirs, so it is not 1
SMALLEST = b"GIF87a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


class Decoding:
    """The processes that decode, and the images that wait for them.

    Parameters
    ----------
    side : int or None
    levels : Levels or None
        See `frostline.images.decode.decode_image`, for both.
    limits : Limits
    """

    def __init__(self, side: int | None, levels: Levels | None, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = 3 * (2 * side) ** 2 if side else 3 * limits.pixels  # of a decoded image
        self._held = 0  # bytes of decoded images
        how = (side, FORMATS, limits.pixels, levels)
        self._cheap = _Lane(Decoders(PROCESSES, *how), PROCESSES, replace(limits, enough=1))
        alone = replace(limits, enough=1, batch=1, queue=limits.costly_queue)
        self._costly = _Lane(Decoders(1, *how), 1, alone)

    async def warm_up(self) -> None:
        """Start the processes."""
        await asyncio.gather(*(lane.decode([SMALLEST]) for lane in (*[self._cheap] * PROCESSES, self._costly)))

    def close(self) -> None:
        """Drop what waits."""
        self._cheap.close()
        self._costly.close()

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

    async def __call__(self, images: Sequence[bytes], cheap: Sequence[bool]) -> list[Pixels | ProblemError]:
        """Return the pixels of each image, or why there are none; ``cheap`` says which of them are."""
        if all(cheap):
            return await self._cheap.decode(images)
        alone = [self._alone(data) for data, is_cheap in zip(images, cheap, strict=True) if not is_cheap]
        others = asyncio.gather(*alone)
        try:
            quick = iter(await self._cheap.decode([data for data, one in zip(images, cheap, strict=True) if one]))
            slow = iter(await others)
        finally:
            others.cancel()
        return [next(quick) if is_cheap else next(slow) for is_cheap in cheap]

    async def _alone(self, data: bytes) -> Pixels | ProblemError:
        try:
            async with asyncio.timeout(self._limits.costly_seconds):
                return (await self._costly.decode([data]))[0]
        except (TimeoutError, ProblemError):
            return busy("is costly to decode, and others wait: try again in a moment, or send a smaller image.")


class _Lane:
    """Some processes, each with a thread that waits for it."""

    def __init__(self, decoders: Decoders, count: int, limits: Limits) -> None:
        self._decoders = decoders
        self._batcher = Batcher[bytes, Decoded](self._decode, limits, threads=count)

    async def decode(self, images: Sequence[bytes]) -> list[Pixels | ProblemError]:
        if not images:
            return []
        with self._batcher.admit(len(images)):
            try:
                return [_judged(one) for one in await self._batcher.classify(images)]
            except DataError as error:  # the machine's fault, not the images'
                log.error("%s", error)
                return [busy("cannot be decoded now: try again in a moment.")] * len(images)

    def _decode(self, images: Sequence[bytes]) -> list[Decoded]:
        return self._decoders.decode(images, at_once=len(images))

    def close(self) -> None:
        self._decoders.close()
        self._batcher.close()


def _judged(decoded: Decoded) -> Pixels | ProblemError:
    if isinstance(decoded, np.ndarray):
        return decoded
    return bad_image(str(decoded).removeprefix("the picture "))
