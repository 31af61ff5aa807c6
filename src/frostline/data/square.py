"""The part of an image that a network sees, no larger than it needs: halved in bytes, then cropped.

Needs no torch, so that the processes that decode start quickly; what they hand over is small, whatever the image is.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def halved_by(width: int, height: int, side: int) -> int:
    """Return the largest power of two that leaves both sides of an image, rounded up, at least ``side``.

    Once a side is one pixel there is nothing to halve.
    """
    factor = 1
    short = min(width, height)
    while factor < short and -(-short // (2 * factor)) >= side:
        factor *= 2
    return factor


def center_square(image: Image.Image, side: int, factor: int | None = None) -> Image.Image:
    """Return the square in the center of a gray or RGB image, halved while it stays at least ``side`` pixels.

    Each pixel is the mean of a block. A square that comes out goes through unchanged.

    Parameters
    ----------
    factor : int, optional
        By how much to shrink; `halved_by` when left out.
    """
    factor = factor or halved_by(*image.size, side)
    return crop_to_square(image.reduce(factor) if factor > 1 else image)


def crop_to_square(image: Image.Image) -> Image.Image:
    """Return the square in the center of an image."""
    width, height = image.size
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return image if width == height else image.crop((left, top, left + short, top + short))


def center_squares(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return `center_square` of each image of an array (N, H, W) or (N, H, W, 3)."""
    height, width = images.shape[1:3]
    factor = halved_by(width, height, side)
    if factor > 1:
        images = np.stack([np.asarray(Image.fromarray(image).reduce(factor)) for image in images])
        height, width = images.shape[1:3]
    short = min(width, height)
    left, top = (width - short) // 2, (height - short) // 2
    return images[:, top : top + short, left : left + short]
