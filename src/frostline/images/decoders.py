"""Decoding image files and bytes: pixels, or the reason why there are none."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.errors import DataError
from frostline.images.decode import FORMATS, MAX_PIXELS, decode_image

Decoded = NDArray[np.uint8] | DataError  # pixels (H, W) or (H, W, 3), or why there are none


class Decoders:
    """Decodes images; see `frostline.images.decode.decode_image` for the parameters."""

    def __init__(
        self,
        count: int | None = None,
        side: int | None = None,
        formats: tuple[str, ...] = FORMATS,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._work = partial(_try_to_decode, side=side, formats=formats, max_pixels=max_pixels)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def decode(self, sources: Sequence[Path | bytes]) -> list[Decoded]:
        """Return pixels, or a ``DataError``, for each image, in order."""
        return list(self.each(sources))

    def each(self, sources: Sequence[Path | bytes]) -> Iterator[Decoded]:
        """Yield what `decode` returns as it is ready."""
        return map(self._work, sources)


def _try_to_decode(source: Path | bytes, side: int | None, formats: tuple[str, ...], max_pixels: int) -> Decoded:
    try:
        return decode_image(source, side, formats, max_pixels)
    except DataError as error:
        return error
