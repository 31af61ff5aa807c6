"""Maps in color, alone and over the image they belong to."""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.data.square import center_square

COLORS = "inferno"  # perceptually uniform: equal steps of a value are equal steps to the eye
FAINT, STRONG = 0.25, 0.85  # how much of its color the weakest and the strongest place of an overlay has
CRISP = 3  # images that are enlarged further than so many times keep their pixels' edges


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map over an image in grays: the stronger a place, the more of its color it has.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (H, W) or (H, W, 3)
    heat : ndarray of float, shape (h, w)
        0 to 1; enlarged to the image where it is smaller.

    Returns
    -------
    ndarray of uint8, shape (H, W, 3)
    """
    gray = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)[..., None]  # (H, W, 1)
    fitted = _fitted(heat, gray.shape[1], gray.shape[0])
    share = (FAINT + (STRONG - FAINT) * fitted)[..., None]
    return np.rint((1 - share) * gray + share * color(fitted)).astype(np.uint8)


def color(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a map of values 0 to 1, (H, W), as RGB (H, W, 3)."""
    return _table()[np.rint(np.clip(heat, 0, 1) * 255).astype(np.uint8)]


def square(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return what a network sees of an image, its center square, at another size: uint8 (side, side) or (…, 3)."""
    image = center_square(Image.fromarray(pixels), side)
    how = Image.Resampling.NEAREST if side >= CRISP * image.width else Image.Resampling.LANCZOS
    return np.asarray(image.resize((side, side), how))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W) or (H, W, 3) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _fitted(heat: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    if heat.shape == (height, width):
        return np.clip(heat, 0, 1)
    grown = Image.fromarray(np.asarray(heat, np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    fitted: NDArray[np.float32] = np.clip(np.asarray(grown), 0, 1)
    return fitted


@lru_cache
def _table() -> NDArray[np.uint8]:
    from matplotlib import colormaps

    table: NDArray[np.uint8] = np.rint(colormaps[COLORS](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return table
