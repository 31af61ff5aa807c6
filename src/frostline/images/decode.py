"""Picture files to pixels: any mode, any size, with the limits that untrusted files need."""

import errno
import io
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from frostline.errors import DataError
from frostline.images.budget import BUDGET, Budget
from frostline.images.square import centre_square, halved_by

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")  # exotic decoders stay shut
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})
MAX_BYTES = 500_000_000  # of a file
MAX_PIXELS = 100_000_000  # 300 MB decoded; larger claims are refused before decoding


def budget_of(max_pixels: int) -> Budget:
    """Return what decoding one image may cost: who allows more pixels than usual allows their time and memory."""
    more = max(1.0, max_pixels / MAX_PIXELS)
    return Budget(BUDGET.seconds * more, int(BUDGET.memory * more))


def decode_image(
    source: Path | bytes,
    side: int | None = None,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
) -> NDArray[np.uint8]:
    """Decode one picture.

    Transparency is laid on white, 16-bit greys and real numbers (0 to 1, 255 or 65,535) are scaled to 8 bits, an
    animation gives its first frame, and a camera's rotation note is obeyed.

    Parameters
    ----------
    source : Path or bytes
        A file, or a file's content.
    side : int, optional
        Return no more than a network with inputs of this side needs: the square in the centre, halved while it stays
        that large (`frostline.images.square`). A JPEG is halved as it is decoded, by its cosine transform at 1/2, 1/4
        or 1/8: quicker, and not to the last bit what halving its pixels gives.
    formats : tuple of str
        Which decoders are tried, of those that Frostline knows.
    max_pixels : int
        What a picture may claim to have.

    Returns
    -------
    ndarray of uint8
        (H, W) for grey pictures, (H, W, 3) RGB for all others.

    Raises
    ------
    DataError
        When it is no picture of these formats, is damaged, or claims more pixels (100 million unless said otherwise).
    """
    with _opened(source, formats, max_pixels) as picture:
        return _decoded(picture, side)


def picture_side(source: Path | bytes) -> int:
    """Return the longer side of a picture in pixels, from its header alone; raises as `decode_image`."""
    with _opened(source) as picture:
        return max(picture.size)


@contextmanager
def _opened(
    source: Path | bytes, formats: tuple[str, ...] = FORMATS, max_pixels: int = MAX_PIXELS
) -> Iterator[Image.Image]:
    name = "the picture" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(source)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}.") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and Pillow's own size warning: our limit decides
            with Image.open(io.BytesIO(data), formats=formats) as picture:
                width, height = picture.size
                if width * height > max_pixels:
                    raise DataError(f"{name} claims {width} x {height} pixels: at most {max_pixels:,} are read.")
                yield picture
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is no picture that can be read: expected one of {', '.join(formats)}.") from error
    except Image.DecompressionBombError as error:  # twice Pillow's own limit: refused before we are asked
        raise DataError(f"{name} claims too many pixels: at most {max_pixels:,} are read.") from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{name} is damaged and cannot be decoded: {error}.") from error


def read_file(path: Path) -> bytes:
    """Return a file's content; what is no plain file is not opened, for a pipe would be waited for.

    Raises
    ------
    OSError
        Also when it is no plain file, or has more than 500 MB.
    """
    facts = path.stat()
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file", str(path))
    if facts.st_size > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has {facts.st_size:,} bytes, and at most {MAX_BYTES:,} are read", str(path))
    return path.read_bytes()


def _decoded(picture: Image.Image, side: int | None) -> NDArray[np.uint8]:
    if side is None:
        return picture_pixels(picture)
    width, height = picture.size
    factor = halved_by(width, height, side)
    picture.draft(None, (width // factor, height // factor))  # JPEG alone can
    done = round(width / picture.width)
    return np.asarray(centre_square(_plain(picture), side, factor // done))


def picture_pixels(picture: Image.Image) -> NDArray[np.uint8]:
    """Return an opened picture's pixels; see `decode_image`."""
    return np.asarray(_plain(picture))


def _plain(picture: Image.Image) -> Image.Image:
    """Return a picture as it is to be seen, grey (L) or RGB."""
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        values = np.asarray(picture).astype(np.float64)
        brightest = values.max(initial=0)
        top = 1.0 if picture.mode == "F" and brightest <= 1 else 255.0 if brightest <= 255 else 65535.0
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        under = Image.new("RGBA", over.size, (255, 255, 255, 255))
        return Image.alpha_composite(under, over).convert("RGB")
    mode = "L" if picture.mode in ("1", "L") else "RGB"
    return picture if picture.mode == mode else picture.convert(mode)
