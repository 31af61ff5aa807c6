"""Decoding in processes: image files and bytes in, pixels or the reason why there are none out."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.data.decoding.decode import FORMATS, MAX_PIXELS, budget_of, decode_image, image_header
from frostline.data.decoding.pool import Workers
from frostline.data.levels import Levels
from frostline.data.scan_file import ScannedFile, scan_file, unusable
from frostline.errors import DataError

AT_ONCE = 32  # files that a process looks at together
Decoded = NDArray[np.uint8] | DataError  # pixels (H, W) or (H, W, 3), or why there are none


class Decoders:
    """Decodes images in processes that a hostile file can neither keep busy nor fill; threads may share it.

    Parameters
    ----------
    count : int, optional
        How many processes work at once; one for each core when left out.
    side : int, optional
    formats : tuple of str
    max_pixels : int
    levels : Levels, optional
        See `frostline.data.decoding.decode.decode_image`.
    eager : bool
        See `frostline.data.decoding.pool.Workers`.
    """

    def __init__(
        self,
        count: int | None = None,
        side: int | None = None,
        formats: tuple[str, ...] = FORMATS,
        max_pixels: int = MAX_PIXELS,
        levels: Levels | None = None,
        *,
        eager: bool = False,
    ) -> None:
        self._workers = Workers(count, eager=eager)
        self._work = partial(_try_to_decode, side=side, formats=formats, max_pixels=max_pixels, levels=levels)
        self._budget = budget_of(max_pixels)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop what was not begun."""
        self._workers.close()

    def submit(self, source: Path | bytes) -> "Future[Decoded]":
        """Begin with one image; the future can be canceled until a process takes it (``asyncio.wrap_future``)."""
        return self._workers.submit(self._work, source, budget=self._budget, lost=_lost)

    def decode(self, sources: Sequence[Path | bytes], at_once: int = 1) -> list[Decoded]:
        """Return pixels, or a ``DataError``, for each image, in order; a process is handed ``at_once`` together.

        Raises
        ------
        DataError
            When no process can be started, or the system ends them because memory does.
        """
        return list(self.each(sources, at_once))

    def each(self, sources: Sequence[Path | bytes], at_once: int = 1) -> Iterator[Decoded]:
        """Begin with all images; yield what `decode` returns as it is ready."""
        return self._workers.map(self._work, sources, at_once, budget=self._budget, lost=_lost)


def look_at_each(paths: Sequence[Path], workers: Workers, max_pixels: int = MAX_PIXELS) -> Iterator[ScannedFile]:
    """Look at files in processes; one that keeps a process busy, fills its memory or crashes it has a reason."""
    work = partial(scan_file, max_pixels=max_pixels)
    return workers.map(work, paths, AT_ONCE, budget=budget_of(max_pixels), lost=lambda _, reason: unusable(reason))


def headers(paths: Sequence[Path]) -> list[tuple[tuple[int, int], str]]:
    """Return size (width, height) and Pillow's mode of each file, read in processes.

    Raises
    ------
    DataError
        When one is no image.
    """
    return list(Workers().map(image_header, paths, AT_ONCE))


def _try_to_decode(source: Path | bytes, **how: Any) -> Decoded:
    try:
        return decode_image(source, **how)
    except DataError as error:
        return error


def _lost(source: Path | bytes, reason: str) -> Decoded:
    return DataError(f"{'the image' if isinstance(source, bytes) else source} {reason}.")
