"""The square that a network reads, and how an image of any shape becomes it: padded, cropped or squashed."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# How an image becomes square, and the words for it in the digests of stores on disk, in bundles and in exported files.
CROPS = {
    "pad": "none: padded to a square with the mean of the border",
    "crop": "centre square",
    "squash": "none: both sides resized",
}
FITS = tuple(CROPS)
WHOLE = "whole"  # no network reads this: the image as it is, for pages


def fit_of(words: str) -> str:
    """Return which of `FITS` some words of `CROPS` stand for; raise ``ValueError`` for others."""
    for fit, known in CROPS.items():
        if words == known:
            return fit
    raise ValueError(f"images are made square by '{words}', which this Frostline does not know")


class Target(NamedTuple):
    """What a network needs of an image: the side of its square input in pixels, and one of `FITS` (or `WHOLE`)."""

    side: int
    fit: str = "crop"

    def factors(self, width: int, height: int) -> tuple[int, int]:
        """Return the powers of two by which width and height are divided before the image becomes square.

        The longer side of a padded or whole image, the shorter side of a cropped one and either side of a squashed one
        are halved, rounding up, while they stay at least the input's side.
        """
        if self.fit == "squash":
            return _halvings(width, self.side), _halvings(height, self.side)
        factor = _halvings(max(width, height) if self.fit in ("pad", WHOLE) else min(width, height), self.side)
        return factor, factor

    def frame(self, image: Image.Image) -> Image.Image:
        """Return a gray or RGB image as the square that is resized then, or unchanged if it is squashed or whole."""
        width, height = image.size
        if width == height or self.fit in ("squash", WHOLE):
            return image
        if self.fit == "pad":
            side = max(width, height)
            square = Image.new(image.mode, (side, side), _border_mean(np.asarray(image)))
            square.paste(image, ((side - width) // 2, (side - height) // 2))
            return square
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        return image.crop((left, top, left + short, top + short))

    def apply(self, image: Image.Image) -> Image.Image:
        """Return a gray or RGB image halved and framed; applying it to its own result changes nothing."""
        return self.frame(reduced(image, self.factors(*image.size)))

    def apply_to_all(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return `apply` of each image of an array (N, H, W) or (N, H, W, 3)."""
        height, width = images.shape[1:3]
        if self.factors(width, height) == (1, 1) and (width == height or self.fit in ("squash", WHOLE)):
            return images
        return np.stack([np.asarray(self.apply(Image.fromarray(image))) for image in images])


def _halvings(length: int, side: int) -> int:
    """Return the largest power of two by which a length can be divided, rounding up, and stay at least ``side``."""
    factor = 1
    while factor < length and -(-length // (2 * factor)) >= side:
        factor *= 2
    return factor


def _border_mean(pixels: NDArray[np.uint8]) -> int | tuple[int, ...]:
    """Return the mean of the outermost pixels of an image (H, W) or (H, W, 3), each channel rounded."""
    border = np.ones(pixels.shape[:2], bool)
    border[1:-1, 1:-1] = False
    mean = np.floor(pixels[border].mean(0, dtype=np.float64) + 0.5).astype(int)
    return int(mean) if pixels.ndim == 2 else tuple(mean.tolist())


def reduced(image: Image.Image, factors: tuple[int, int]) -> Image.Image:
    """Return an image with width and height divided by factors, rounding up: each pixel is the mean of a block."""
    return image if factors == (1, 1) else image.reduce(factors)
