"""Accept images in any form that a caller may pass: pixels or files, one or many. Needs no torch."""

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
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import DataError

Pixels = NDArray[np.uint8]
Item = Path | bytes | Image.Image | Pixels
Images = Any  # anything that `as_images` accepts
ImageBatch = Pixels | list[Item]  # its result

EXPECTED = (
    "images: expected a uint8 array (H, W) or (H, W, 3), a batch (N, H, W) or (N, H, W, 3), a path, a PIL image, or "
    "several of them, got"
)


def as_images(images: Images) -> ImageBatch:
    """Return images as a batch or a list; a single image becomes a list of one.

    Parameters
    ----------
    images : path, bytes, PIL image, array, or an iterable of these
        One file's path or content; one PIL image of any mode; one array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); a
        batch (N, H, W), (N, H, W, 1), (N, H, W, 3) or (N, H, W, 4); or a list, generator, Series or array of paths and
        images in any mix. Arrays are uint8. An array of three dimensions whose last is 1, 3 or 4 is one image; any
        other is a batch of gray images, with a warning for the ambiguous (3, H, W).

    Raises
    ------
    DataError
        When it is anything else, such as floating-point values.
    """
    if _is_single(images):
        return [_item(images)]
    if isinstance(images, Mapping):
        raise DataError(f"{EXPECTED} a {type(images).__name__}: pass its values.")
    if hasattr(images, "__array__"):
        return _from_array(np.asarray(images))
    if isinstance(images, Iterable):
        return [_item(image) for image in images]
    raise DataError(f"{EXPECTED} {type(images).__name__}.")


def read_pixels(
    images: ImageBatch, target: Target | None, levels: Levels | None = None, max_pixels: int = MAX_PIXELS
) -> Pixels | list[Pixels]:
    """Return the pixels of (a part of) the result of `as_images`: one array, or one array per image.

    Files are reduced to what the network's input ``target`` needs. ``levels`` applies to files and PIL images with
    more than 8 bits.

    Raises
    ------
    DataError
        When a file is not a readable image.
    """
    if isinstance(images, np.ndarray):
        return images
    pixels = []
    with Decoders(None, target, max_pixels=max_pixels, levels=levels) as decoders:
        decoded = decoders.each([image for image in images if isinstance(image, Path | bytes)])
        for image in images:
            if isinstance(image, np.ndarray):
                pixels.append(image)
            elif isinstance(image, Image.Image):
                pixels.append(_from_pil(image, levels))
            elif isinstance(result := next(decoded), DataError):
                raise result
            else:
                pixels.append(result)
    return pixels


def batches(images: Pixels | Sequence[Pixels], size: int) -> Iterator[tuple[NDArray[np.int64], Pixels]]:
    """Group images by shape; yield their positions, and their pixels (B, H, W, C) with C = 1 or 3."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(number)
    for shape, numbers in shapes.items():
        for start in range(0, len(numbers), size):
            batch = numbers[start : start + size]
            pixels = np.stack([images[number] for number in batch])
            yield np.array(batch), pixels if len(shape) == 3 else pixels[..., None]


def _is_single(images: Images) -> bool:
    return isinstance(images, str | os.PathLike | bytes | bytearray | Image.Image) or hasattr(images, "read")


def _item(image: Any) -> Item:
    """Return a single image as a path, a file's content, a PIL image, or pixels (H, W) or (H, W, 3)."""
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, str | os.PathLike):
        return Path(os.fsdecode(image))
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if hasattr(image, "read"):
        return _item(image.read())
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise DataError(f"{EXPECTED} a ragged {type(image).__name__}.") from error
    if array.ndim == 0 and array.dtype.kind in "OU" and isinstance(array.item(), str | os.PathLike | bytes):
        return _item(array.item())
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3, 4))):
        raise _unsupported(array)
    return _gray_or_rgb(array)


def _from_array(array: NDArray[Any]) -> ImageBatch:
    if array.dtype.kind in "OUTS" or array.dtype.kind not in "biufc":
        column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if column.ndim > 1:
            raise _unsupported(array)
        return [_item(image) for image in np.atleast_1d(column).tolist()]
    first, last = (array.shape[0], array.shape[-1]) if array.ndim else (0, 0)
    if array.dtype != np.uint8 or array.ndim not in (2, 3, 4) or (array.ndim == 4 and last not in (1, 3, 4)):
        raise _unsupported(array)
    if array.ndim == 2 or (array.ndim == 3 and last in (1, 3, 4) and first):
        return [_gray_or_rgb(array)]
    if array.ndim == 3 and first == 3:
        log.warning(
            "an array %s is read as three gray images: pass np.moveaxis(x, 0, -1) if its channels come first",
            array.shape,
        )
    return [_gray_or_rgb(image) for image in array] if array.ndim == 4 and last != 3 else array


def _gray_or_rgb(array: Pixels) -> Pixels:
    if array.ndim == 3 and array.shape[-1] == 4:
        return image_pixels(Image.fromarray(np.ascontiguousarray(array)))
    return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array


def _unsupported(array: NDArray[Any]) -> DataError:
    return DataError(f"{EXPECTED} {array.dtype} {array.shape}: {_advice(array)}.")


def _advice(array: NDArray[Any]) -> str:
    kind = array.dtype.kind
    if kind == "O":
        return "pass each image separately"
    if kind == "f":
        by = " * 255" if array.size and np.nanmax(np.abs(array)) <= 1 else ""
        return f"convert the pixels back, e.g. (x{by}).round().clip(0, 255).astype(np.uint8)"
    if kind == "b":
        return "pass x.astype(np.uint8) * 255"
    if kind in "iu" and array.dtype != np.uint8:
        return "scale it to 0..255, then x.astype(np.uint8)"
    if array.ndim in (3, 4) and array.shape[-3] in (1, 3, 4):
        return "channels come last: np.moveaxis(x, -3, -1)"
    if array.ndim < 2:
        return "reshape flattened pixels to (H, W) or (H, W, 3)"
    return "pass each image separately"


def _from_pil(image: Image.Image, levels: Levels | None) -> Pixels:
    """Return the pixels of the caller's image, without changing it."""
    try:
        return image_pixels(ImageOps.exif_transpose(image), levels)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        raise DataError(f"a PIL image of mode {image.mode} cannot be read: {error}.") from error
