"""Saliency maps as translucent PNGs, which a page lays over an image."""

import numpy as np
from numpy.typing import NDArray

from frostline.data.thumbnails import to_png

LOW, HIGH = (255, 196, 61), (225, 62, 40)  # amber to red: seen on gray and on color, told apart by lightness too
OPAQUE = 0.72  # where an image speaks loudest


def overlay_png(heat: NDArray[np.float32]) -> bytes:
    """Return a heat map (S, S) of values 0 to 1 as a PNG that is laid over the square in an image's center."""
    mix = heat[..., None]
    color = (1 - mix) * np.array(LOW) + mix * np.array(HIGH)  # (S, S, 3)
    pixels = np.concatenate([color, 255 * OPAQUE * mix], axis=-1)  # (S, S, 4)
    return to_png(np.rint(pixels).astype(np.uint8))
