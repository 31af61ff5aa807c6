"""Picture files to pixels: any mode, any size, with the limits that untrusted files need."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from frostline.errors import DataError

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # exotic decoders stay shut
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
MAX_PIXELS = 100_000_000  # 300 MB decoded; larger claims are refused before decoding


def decode_image(source: Path | bytes) -> NDArray[np.uint8]:
    """Decode one picture.

    Transparency is laid on white, 16-bit greys and real numbers (0 to 1, 255 or 65,535) are scaled to 8 bits, an
    animation gives its first frame, and a camera's rotation note is obeyed.

    Parameters
    ----------
    source : Path or bytes
        A file, or a file's content.

    Returns
    -------
    ndarray of uint8
        (H, W) for grey pictures, (H, W, 3) RGB for all others.

    Raises
    ------
    DataError
        When it is no picture of a known format, is damaged, or claims more than 100 million pixels.
    """
    with _opened(source) as picture:
        return picture_pixels(picture)


def picture_side(source: Path | bytes) -> int:
    """Return the longer side of a picture in pixels, from its header alone; raises as `decode_image`."""
    with _opened(source) as picture:
        return max(picture.size)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and Pillow's own size warning: our limit decides
            with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise DataError(f"{name} claims {width} x {height} pixels: at most {MAX_PIXELS:,} are read.")
                yield picture
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is no picture that can be read: expected one of {', '.join(FORMATS)}.") from error
    except Image.DecompressionBombError as error:  # twice Pillow's own limit: refused before we are asked
        raise DataError(f"{name} claims too many pixels: at most {MAX_PIXELS:,} are read.") from error
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{name} is damaged and cannot be decoded: {error}.") from error


def picture_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Return an opened picture's pixels; see `decode_image`."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        return (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
    if picture.mode in ("I", "F"):
        values = np.asarray(picture).astype(np.float64)
        brightest = values.max(initial=0)
        top = 1.0 if picture.mode == "F" and brightest <= 1 else 255.0 if brightest <= 255 else 65535.0
        return np.clip(values * (255.0 / top), 0, 255).astype(np.uint8)
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        under = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(under, over).convert("RGB"))
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    return np.asarray(picture.convert("RGB"))
