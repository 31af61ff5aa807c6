"""Images as a caller gives them, pixels or files, one or many; needs no torch."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from frostline._utils.progress import log
from frostline.data.decoding.decode import MAX_PIXELS, image_pixels
from frostline.data.decoding.decoder import Decoders
from frostline.data.levels import Levels
from frostline.errors import DataError

Pixels = NDArray[np.uint8]
Item = Path | bytes | Image.Image | Pixels
Images = Any  # whatever `as_images` knows
Listed = Pixels | list[Item]  # what it makes of that

EXPECTED = (
    "images: expected a uint8 array (H, W) or (H, W, 3), a batch (N, H, W) or (N, H, W, 3), a path, a PIL image, or "
    "several of them, got"
)


def as_images(images: Images) -> Listed:
    """Return what a caller gave as a batch or a list; one image becomes a list of one.

    Parameters
    ----------
    images : path, bytes, PIL image, array, or an iterable of these
        One file's path or content; one PIL image of any mode; one array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a
        batch (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4); or a list, generator, Series or array of paths or
        images, mixed as you like. Arrays hold bytes, uint8. An array of three dimensions whose last is 1, 3 or 4 is
        one image; every other one is a batch of gray images, with a warning where it may have been meant otherwise:
        (3, H, W).

    Raises
    ------
    DataError
        When it is anything else, such as real numbers.
    """
    if _is_single(images):
        return [_item(images)]
    if isinstance(images, Mapping):
        raise DataError(f"{EXPECTED} a {type(images).__name__}: give its values.")
    if hasattr(images, "__array__"):
        return _from_array(np.asarray(images))
    if isinstance(images, Iterable):
        return [_item(one) for one in images]
    raise DataError(f"{EXPECTED} {type(images).__name__}.")


def read_pixels(
    images: Listed, side: int | None, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> Pixels | list[Pixels]:
    """Return the pixels of (a part of) what `as_images` gave: one array, or one for each image.

    Parameters
    ----------
    images : ndarray of uint8, or a list
    side : int, optional
        Of the network's input: files give no more than it needs.
    levels : Levels, optional
        The scale of files and PIL images of more than 8 bits.
    max_pixels : int
        What a file may claim to have.

    Raises
    ------
    DataError
        When a file is no readable image.
    """
    if isinstance(images, np.ndarray):
        return images
    with Decoders(None, side, max_pixels=max_pixels, levels=levels) as decoders:
        decoded = decoders.each([one for one in images if isinstance(one, Path | bytes)])
        return [
            one
            if isinstance(one, np.ndarray)
            else _from_pil(one, levels)
            if isinstance(one, Image.Image)
            else _decoded(next(decoded))
            for one in images
        ]


def batches(images: Pixels | Sequence[Pixels], size: int) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
    """Yield images of one shape together: where they stood, and their pixels (B, H, W, C) with C = 1 or 3."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(number)
    for shape, numbers in shapes.items():
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            pixels = np.stack([images[number] for number in some])
            yield np.array(some), pixels if len(shape) == 3 else pixels[..., None]


def _is_single(images: Images) -> bool:
    return isinstance(images, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(images, "read")


def _item(one: Any) -> Item:
    """Return one image of several as a path, a file's content, a PIL image, or pixels (H, W) or (H, W, 3)."""
    if isinstance(one, Image.Image):
        return one
    if isinstance(one, str | os.PathLike):
        return Path(os.fsdecode(one))
    if isinstance(one, bytes | bytearray):
        return bytes(one)
    if hasattr(one, "read"):
        return _item(one.read())
    try:
        array = np.asarray(one)
    except ValueError as error:
        raise DataError(f"{EXPECTED} a ragged {type(one).__name__}.") from error
    if array.ndim == 0 and array.dtype.kind in "OU":
        return _item(array.item()) if isinstance(array.item(), str | os.PathLike | bytes) else _refused(array)
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))):
        return _refused(array)
    return _gray_or_rgb(array)


def _from_array(array: NDArray[Any]) -> Listed:
    if array.dtype.kind in "OUTS" or array.dtype.kind not in "biufc":
        column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if column.ndim > 1:
            _refused(array)
        return [_item(one) for one in np.atleast_1d(column).tolist()]
    first, last = (array.shape[0], array.shape[-1]) if array.ndim else (0, 0)
    if array.dtype != np.uint8 or array.ndim not in (2, 3, 4) or (array.ndim == 4 and last not in (1, 3, 4)):
        _refused(array)
    if array.ndim == 2 or (array.ndim == 3 and last in (1, 3, 4) and first):
        return [_gray_or_rgb(array)]
    if array.ndim == 3 and first == 3:
        log.warning(
            "an array %s is taken for three gray images: give np.moveaxis(x, 0, -1) if its channels come first",
            array.shape,
        )
    return [_gray_or_rgb(one) for one in array] if array.ndim == 4 and last != 3 else array


def _gray_or_rgb(array: Pixels) -> Pixels:
    if array.ndim == 3 and array.shape[-1] == 4:
        return image_pixels(Image.fromarray(np.ascontiguousarray(array)))
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _refused(array: NDArray[Any]) -> Item:
    raise DataError(f"{EXPECTED} {array.dtype} {array.shape}: {_advice(array)}.")


def _advice(array: NDArray[Any]) -> str:
    kind = array.dtype.kind
    if kind == "O":
        return "give each image by itself"
    if kind == "f":
        by = " * 255" if array.size and np.nanmax(np.abs(array)) <= 1 else ""
        return f"undo what was done to the pixels, e.g. (x{by}).round().clip(0, 255).astype(np.uint8)"
    if kind == "b":
        return "give x.astype(np.uint8) * 255"
    if kind in "iu" and array.dtype != np.uint8:
        return "scale it to 0..255, then x.astype(np.uint8)"
    if array.ndim in (3, 4) and array.shape[-3] in (1, 3, 4):
        return "channels come last: np.moveaxis(x, -3, -1)"
    if array.ndim < 2:
        return "reshape flattened pixels to (H, W) or (H, W, 3)"
    return "give each image by itself"


def _decoded(pixels: Pixels | DataError) -> Pixels:
    if isinstance(pixels, DataError):
        raise pixels
    return pixels


def _from_pil(image: Image.Image, levels: Levels | None) -> Pixels:
    """Return the pixels of the caller's image, which stays as it is."""
    try:
        return image_pixels(ImageOps.exif_transpose(image), levels)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise DataError(f"a PIL image of mode {image.mode} cannot be read: {error}.") from error
