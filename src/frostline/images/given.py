"""Pictures as a caller gives them, pixels or files; needs no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline.images.dataset import check_pixels
from frostline.images.decode import decode_image

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8] | Path | str]


def given_pixels(images: Images, side: int | None) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    """Return checked pixels: one array, or one for each picture.

    Parameters
    ----------
    images : ndarray of uint8, or a sequence
        (N, H, W) or (N, H, W, 3) pixels; or N items, each a file's path or pixels (H, W) or (H, W, 3).
    side : int, optional
        Of the network's input: files give no more than it needs.

    Raises
    ------
    DataError
        When a file is no readable picture, or pixels are of another type or shape.
    """
    if isinstance(images, np.ndarray):
        return check_pixels(images)
    return [
        decode_image(Path(image), side) if isinstance(image, str | Path) else check_pixels(np.asarray(image)[None])[0]
        for image in images
    ]


def batches(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield pictures of one shape together: where they stood, and their pixels (B, H, W, C) with C = 1 or 3."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for number, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(number)
    for shape, numbers in shapes.items():
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            pixels = np.stack([images[number] for number in some])
            yield np.array(some), pixels if len(shape) == 3 else pixels[..., None]
