"""Images inside of JSON: heat maps as translucent PNGs, and data addresses."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LOW, HIGH = (255, 196, 61), (225, 62, 40)  # amber to red: seen on gray and on color, told apart by lightness too
OPAQUE = 0.72  # where an image speaks loudest


def overlay_png(heat: NDArray[np.float32]) -> bytes:
    """Return a heat map (S, S) of values 0 to 1 as a PNG that is laid over the square in an image's center."""
    mix = heat[..., None]
    color = (1 - mix) * np.array(LOW) + mix * np.array(HIGH)  # (S, S, 3)
    pixels = np.concatenate([color, 255 * OPAQUE * mix], axis=-1)  # (S, S, 4)
    file = io.BytesIO()
    Image.fromarray(np.rint(pixels).astype(np.uint8), "RGBA").save(file, "PNG")
    return file.getvalue()


def data_address(image: bytes) -> str:
    """Return a PNG or JPEG as a ``data:`` address."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
