"""Encode pixels as PNG or JPEG, for pages and answers. Needs no torch."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 64  # pixels of a thumbnail's longer side; smaller images are not enlarged
LOSSLESS_SIDE = 32
JPEG_QUALITY = 85


def encode(pixels: NDArray[np.uint8], side: int = SIDE) -> bytes:
    """Shrink pixels (H, W) or (H, W, 3), and encode them as PNG up to 32 pixels a side, else as JPEG."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def to_png(pixels: NDArray[np.uint8], *, optimize: bool = False) -> bytes:
    """Return pixels (H, W), (H, W, 3) or (H, W, 4) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()


def data_url(data: bytes, media_type: str | None = None) -> str:
    """Return bytes as a ``data:`` URL; without a media type they are a PNG or JPEG."""
    kind = media_type or ("image/png" if data.startswith(b"\x89PNG") else "image/jpeg")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
