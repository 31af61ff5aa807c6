"""Image files to pixels: cheap ones together and quickly, costly ones one at a time and out of their way."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue

import numpy as np

from frostline.device import cores
from frostline.serve.batcher import Batcher
from frostline.serve.cost import is_cheap
from frostline.serve.decoder import Decoded, Decoder, Pixels
from frostline.serve.limits import FORMATS, Limits
from frostline.serve.problems import ProblemError, bad_image, busy

PROCESSES = min(4, cores())  # for cheap images
GIVE_WAY = 10  # niceness of the process for costly ones


class Decoding:
    """The processes that decode, and the images that wait for them.

    Parameters
    ----------
    side : int or None
        See `frostline.images.decode.decode_image`.
    limits : Limits
    """

    def __init__(self, side: int | None, limits: Limits) -> None:
        self._limits = limits
        self._most_bytes = 3 * (2 * side) ** 2 if side else 3 * limits.pixels  # of a decoded image
        self._held = 0  # bytes of decoded images
        bounds = (side, FORMATS, limits.pixels, limits.decode_seconds, limits.decode_bytes)
        self._cheap = _Lane([Decoder(*bounds) for _ in range(PROCESSES)], replace(limits, enough=1))
        alone = replace(limits, enough=1, batch=1, queue=limits.costly_queue)
        self._costly = _Lane([Decoder(*bounds, GIVE_WAY)], alone)

    def close(self) -> None:
        """End the processes."""
        self._cheap.close()
        self._costly.close()

    @contextmanager
    def room(self, images: Sequence[bytes]) -> Iterator[None]:
        """Hold memory for the pixels of some images until they are answered.

        Raises
        ------
        ProblemError
            503, when all requests together hold too much.
        """
        needed = len(images) * self._most_bytes
        if self._held and self._held + needed > self._limits.square_bytes:
            raise busy("too many images at the same time: try again in a moment.")
        self._held += needed
        try:
            yield
        finally:
            self._held -= needed

    async def __call__(self, images: Sequence[bytes]) -> list[Pixels | ProblemError]:
        """Return the pixels of each image, or why there are none."""
        cheap = [number for number, data in enumerate(images) if is_cheap(data)]
        if len(cheap) == len(images):
            return [_judged(one) for one in await self._cheap.decode(images)]
        costly = [number for number in range(len(images)) if number not in set(cheap)]
        others = asyncio.gather(*(self._alone(images[number]) for number in costly))
        try:
            decoded = await self._cheap.decode([images[number] for number in cheap])
            found = dict(zip(costly, await others, strict=True))
        finally:
            others.cancel()
        found |= dict(zip(cheap, map(_judged, decoded), strict=True))
        return [found[number] for number in range(len(images))]

    async def _alone(self, data: bytes) -> Pixels | ProblemError:
        try:
            async with asyncio.timeout(self._limits.costly_seconds):
                return _judged((await self._costly.decode([data]))[0])
        except (TimeoutError, ProblemError):
            return busy("is costly to decode, and others wait: try again in a moment, or send a smaller image.")


class _Lane:
    """Some processes, each with a thread that waits for it."""

    def __init__(self, decoders: Sequence[Decoder], limits: Limits) -> None:
        self._decoders = decoders
        self._idle: SimpleQueue[Decoder] = SimpleQueue()
        for decoder in decoders:
            self._idle.put(decoder)
        self._batcher = Batcher[bytes, Decoded](self._decode, limits, threads=len(decoders))

    async def decode(self, images: Sequence[bytes]) -> list[Decoded]:
        if not images:
            return []
        with self._batcher.admit(len(images)):
            return await self._batcher.classify(images)

    def _decode(self, images: Sequence[bytes]) -> list[Decoded]:
        decoder = self._idle.get()
        try:
            return decoder(images)
        finally:
            self._idle.put(decoder)

    def close(self) -> None:
        self._batcher.close()
        for decoder in self._decoders:
            decoder.close()


def _judged(decoded: Decoded) -> Pixels | ProblemError:
    if isinstance(decoded, np.ndarray):
        return decoded
    return bad_image(str(decoded).removeprefix("the picture "))
