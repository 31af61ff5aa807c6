"""Decode image files and bytes in separate processes; a failure becomes a ``DataError`` in the results."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.data.decoding.decode import FORMATS, MAX_PIXELS, Square, budget_of, decode_image, image_header
from frostline.data.decoding.pool import Workers
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.data.scan_file import ScannedFile, scan_file, unusable
from frostline.errors import DataError

CHUNK = 32  # files per task when scanning
Decoded = NDArray[np.uint8] | DataError  # pixels (H, W) or (H, W, 3), or the failure


class Decoders:
    """Decodes images in processes with limits on time and memory; thread-safe.

    Parameters
    ----------
    count : int, optional
        Number of processes. Default: one per core.
    target, formats, max_pixels, levels
        As in `frostline.data.decoding.decode.decode_image`.
    eager : bool
        As in `frostline.data.decoding.pool.Workers`.
    """

    def __init__(
        self,
        count: int | None = None,
        target: Target | None = None,
        formats: tuple[str, ...] = FORMATS,
        max_pixels: int = MAX_PIXELS,
        levels: Levels | None = None,
        *,
        eager: bool = False,
    ) -> None:
        self._workers = Workers(count, eager=eager)
        self._work = partial(_try_to_decode, target=target, formats=formats, max_pixels=max_pixels, levels=levels)
        self._budget = budget_of(max_pixels)

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop tasks that have not started."""
        self._workers.close()

    def submit(self, source: Path | bytes) -> "Future[Decoded]":
        """Start decoding one image; the future can be canceled until a process takes it (``asyncio.wrap_future``)."""
        return self._workers.submit(self._work, source, budget=self._budget, lost=_lost)

    def decode(self, sources: Sequence[Path | bytes], at_once: int = 1) -> list[Decoded]:
        """Return pixels, or a ``DataError``, for each image, in order; ``at_once`` images form one task.

        Raises
        ------
        DataError
            When no process can be started, or the system kills them for lack of memory.
        """
        return list(self.each(sources, at_once))

    def each(self, sources: Sequence[Path | bytes], at_once: int = 1) -> Iterator[Decoded]:
        """Start decoding all images and yield the results of `decode` as they become ready."""
        return self._workers.map(self._work, sources, at_once, budget=self._budget, lost=_lost)


def scan_files(
    paths: Sequence[Path], workers: Workers, max_pixels: int = MAX_PIXELS, keep: Target | None = None
) -> Iterator[tuple[ScannedFile, Square | None]]:
    """Scan files in processes; a file that exceeds the limits or crashes its process is unusable.

    With ``keep`` the squares of large files come along, for that network's input.
    """
    work = partial(scan_file, max_pixels=max_pixels, keep=keep)
    return workers.map(
        work, paths, CHUNK, budget=budget_of(max_pixels), lost=lambda _, reason: (unusable(reason), None)
    )


def headers(paths: Sequence[Path]) -> list[tuple[tuple[int, int], str]]:
    """Return size (width, height) and Pillow's mode of each file; raises ``DataError`` when one is not an image."""
    return list(Workers().map(image_header, paths, CHUNK))


def _try_to_decode(source: Path | bytes, **options: Any) -> Decoded:
    try:
        return decode_image(source, **options)
    except DataError as error:
        return error


def _lost(source: Path | bytes, reason: str) -> Decoded:
    return DataError(f"{'the image' if isinstance(source, bytes) else source} {reason}.")
