"""Image files to pixels: any mode, any size, with the limits that untrusted files need."""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import (  # Pillow loads every decoder it has when one of ours is not there yet
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    ImageOps,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from frostline._utils.files import read_bytes
from frostline._utils.hashing import row_id_of_bytes
from frostline.data.decoding.file_checks import BUDGET, Budget, count_scans, excess, modern_decoder, other_kind
from frostline.data.levels import Levels, Range, Tones, to_bytes
from frostline.errors import DataError


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


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "HEIF")  # exotic decoders stay shut
MODERN = ("AVIF", "HEIF")  # opened only for files that say they are; HEIF where pillow-heif is installed
SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "webp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "avif", "heic", "heif"),
    )
)
MAX_BYTES = 500_000_000  # of a file
MAX_PIXELS = 100_000_000  # larger claims are refused before decoding
STRIP_PIXELS = 1 << 18  # that are converted at a time, so that no second copy of the image is needed
FAINT = 8  # gray levels: an image that differs from white by no more cannot be seen on it

BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # as Pillow holds it; 4 in other modes
# What decoders hold besides: canvases, the frame as bytes.
MORE_BYTES = {"WEBP": 12, "AVIF": 12, "HEIF": 12, "GIF": 4, "PPM": 3}
Convert = Callable[[Image.Image], Image.Image]
REDUCED_PREVIEW = 1  # a TIFF's NewSubfileType: a smaller version of another image in the file


class _UnusableError(Exception):
    """Why an image that can be decoded cannot be used; whoever knows its name says it."""


def budget_of(max_pixels: int) -> Budget:
    """Return what decoding one image may cost: who allows more pixels than usual allows their time and memory."""
    more = max(1.0, max_pixels / MAX_PIXELS)
    return Budget(BUDGET.seconds * more, int(BUDGET.memory * more))


def decode_image(
    source: Path | bytes,
    side: int | None = None,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    levels: Levels | None = None,
    row_id: bytes | None = None,
) -> NDArray[np.uint8]:
    """Decode one image.

    Transparency is laid on white, 16-bit grays and real numbers are scaled to 8 bits, an animation gives its first
    frame, and a camera's rotation note is obeyed.

    Parameters
    ----------
    source : Path or bytes
        A file, or a file's content.
    side : int, optional
        Return no more than a network with inputs of this side needs: the square in the center, halved while it stays
        that large (`center_square`). A JPEG is halved as it is decoded, by its cosine transform at 1/2, 1/4 or 1/8:
        quicker, and not to the last bit what halving its pixels gives.
    formats : tuple of str
        Which decoders are tried, of those that Frostline knows.
    max_pixels : int
        What an image may claim to have.
    levels : Levels, optional
        The data set's scale for files of more than 8 bits, and the background of transparent ones.
    row_id : bytes, optional
        What the file's content is expected to be (`frostline._utils.hashing.row_id_of_bytes`).

    Returns
    -------
    ndarray of uint8
        (H, W) for gray images, (H, W, 3) RGB for all others.

    Raises
    ------
    DataError
        When it is no image of these formats, is damaged, holds NaN or infinity, claims more pixels (100 million unless
        said otherwise), needs more memory than that many pixels may, or is not the content that is expected.
    MemoryError
        When the process may not have what decoding needs.
    """
    with _opened(source, formats, max_pixels, side, row_id) as image:
        return _decoded(image, side, levels or Levels())


def examine(data: bytes, side: int, max_pixels: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], int, Tones]:
    """Decode an image, all of it, shrunk while its shorter side stays at least ``side``; see `decode_image`.

    Returns
    -------
    pixels : ndarray of uint8, (H, W) or (H, W, 3)
    longer_side : int
        Of the image as it is in the file, in pixels.
    tones : Tones
    """
    with _opened(data, FORMATS, max_pixels, side) as image:
        longer_side = max(image.size)
        factor = _draft(image, side)
        _turn_upright(image)
        kind = _kind(image)
        low, high = _extremes(image) if kind != "byte" else (0.0, 0.0)
        transparent = kind == "byte" and image.has_transparency_data
        own = (low, high) if low < high else None
        shown = _plain(image, factor, Levels(own, own, contrast=True))
        ranges = _ranges(shown)
        if kind == "byte":
            low, high = float(min(one for one, _ in ranges)), float(max(other for _, other in ranges))
        flat = all(one == other for one, other in ranges) and (kind == "byte" or low == high)
        return np.asarray(shown), longer_side, Tones(kind, low, high, transparent, flat)


def image_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], str]:
    """Return an image's size (width, height) and Pillow's name of its mode; raises as `decode_image`."""
    with _opened(source, FORMATS, max_pixels, 1) as image:
        return image.size, image.mode


@contextmanager
def _opened(
    source: Path | bytes,
    formats: tuple[str, ...],
    max_pixels: int,
    side: int | None,
    row_id: bytes | None = None,
) -> Iterator[Image.Image]:
    name = "the image" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_file(source)
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}.") from error
    if row_id is not None and row_id_of_bytes(data) != row_id:
        raise DataError(f"{name} was changed while it was being read: run the command again.")
    too_much = excess(data)
    if too_much:
        raise DataError(f"{name} {too_much}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata and Pillow's own size warning: our limit decides
            with Image.open(io.BytesIO(data), formats=_decoders(data, formats)) as image:
                width, height = image.size
                if width * height > max_pixels:
                    raise DataError(f"{name} claims {width} x {height} pixels: at most {max_pixels:,} are read.")
                needed, allowed = _memory(image, data, side), budget_of(max_pixels).memory
                if needed > allowed:
                    raise DataError(
                        f"{name} needs {needed / 1e6:,.0f} MB of memory to decode ({width} x {height} pixels, "
                        f"{image.mode}): at most {allowed / 1e6:,.0f} MB are used (--max-pixels N allows more)."
                    )
                if image.format == "TIFF" and _tag(image, 254) & REDUCED_PREVIEW:
                    raise DataError(f"{name} begins with a small preview, as cameras' raw files do: export it as JPEG.")
                yield image
    except UnidentifiedImageError as error:
        kind = other_kind(data)
        known = ", ".join(formats)
        reason = f"{kind}." if kind else f"is no image that can be read: expected one of {known}."
        raise DataError(f"{name} {reason}") from error
    except Image.DecompressionBombError as error:  # twice Pillow's own limit: refused before we are asked
        raise DataError(f"{name} claims too many pixels: at most {max_pixels:,} are read.") from error
    except _UnusableError as error:
        raise DataError(f"{name} {error}.") from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{name} is damaged and cannot be decoded: {error}.") from error


def read_file(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    OSError
        Also when it is no regular file, or has more than 500 MB.
    """
    return read_bytes(path, MAX_BYTES)


def _decoders(data: bytes, formats: tuple[str, ...]) -> list[str]:
    modern = modern_decoder(data)
    return [modern] if modern in formats else [name for name in formats if name not in MODERN]


def _tag(image: Image.Image, number: int) -> int:
    value = getattr(image, "tag_v2", {}).get(number, 0)
    return value if isinstance(value, int) else 0


def _memory(image: Image.Image, data: bytes, side: int | None) -> int:
    """Return about how many bytes decoding takes at most, from what the header says."""
    width, height = image.size
    pixels, factor = width * height, 1
    coefficients = 0
    if image.format in ("JPEG", "MPO"):
        coefficients = _coefficients(image, data)
        factor = 1 if side is None else min(8, halved_by(width, height, side))
    held = pixels // factor**2 * BYTES_A_PIXEL.get(image.mode, 4)
    turned = held if _may_be_turned(image) else 0
    result = 3 * pixels if side is None else 0
    return len(data) + coefficients + held + max(pixels * MORE_BYTES.get(image.format or "", 0), turned, result)


def _may_be_turned(image: Image.Image) -> bool:
    if image.format == "PNG":  # to know it would decode it
        return "exif" in image.info
    return bool(image.getexif().get(0x0112, 1) != 1)


def _coefficients(image: Image.Image, data: bytes) -> int:
    """Return what a JPEG of several scans needs: all its coefficients at once, 16 bits each."""
    layers = getattr(image, "layer", [])
    if not layers or (not image.info.get("progressive") and count_scans(data) < 2):
        return 0
    most = max(h for _, h, _, _ in layers) * max(v for _, _, v, _ in layers)
    share: float = sum(h * v for _, h, v, _ in layers) / most
    return math.ceil(2 * image.width * image.height * share)


def _decoded(image: Image.Image, side: int | None, levels: Levels) -> NDArray[np.uint8]:
    if side is None:
        return _whole(image, levels)
    factor = _draft(image, side)
    _turn_upright(image)
    return np.asarray(crop_to_square(_plain(image, factor, levels)))


def _draft(image: Image.Image, side: int) -> int:
    """Have a JPEG shrunk as it is decoded; return by how much any image remains to be shrunk."""
    width, height = image.size
    factor = halved_by(width, height, side)
    image.draft(None, (width // factor, height // factor))  # JPEG alone can
    return factor // round(width / image.width)


def image_pixels(image: Image.Image, levels: Levels | None = None) -> NDArray[np.uint8]:
    """Return an opened image's pixels; see `decode_image`.

    Raises
    ------
    DataError
        When it holds NaN or infinity.
    """
    try:
        return _whole(image, levels or Levels())
    except _UnusableError as error:
        raise DataError(f"the image {error}.") from error


def _whole(image: Image.Image, levels: Levels) -> NDArray[np.uint8]:
    _turn_upright(image)
    return np.asarray(_plain(image, 1, levels))


def _turn_upright(image: Image.Image) -> None:
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        ImageOps.exif_transpose(image, in_place=True)


def _plain(image: Image.Image, factor: int, levels: Levels) -> Image.Image:
    """Return an image as it is to be seen, gray (L) or RGB, shrunk by a factor.

    It is converted in strips of whole blocks: a copy of a large image in another mode would need as much memory again.
    """
    kind = _kind(image)
    if kind != "byte":
        scale = levels.of(image.mode, *_extremes(image))
        return _in_strips(image, factor, "L", lambda strip: Image.fromarray(to_bytes(np.asarray(strip), scale)))
    if image.has_transparency_data:
        on_white = _in_strips(image, factor, "RGB", _laid_on(255))
        if levels.contrast and _contrast(on_white) <= FAINT:
            on_black = _in_strips(image, factor, "RGB", _laid_on(0))
            return on_black if _contrast(on_black) > _contrast(on_white) else on_white
        return on_white
    mode = "L" if image.mode in ("1", "L") else "RGB"
    if image.mode == mode:
        return image.reduce(factor) if factor > 1 else image
    return _in_strips(image, factor, mode, lambda strip: strip.convert(mode))


def _in_strips(image: Image.Image, factor: int, mode: str, convert: Convert) -> Image.Image:
    rows = max(1, STRIP_PIXELS // (image.width * factor)) * factor
    if rows >= image.height:
        whole = convert(image)
        return whole.reduce(factor) if factor > 1 else whole
    result = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        result.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return result


def _laid_on(gray: int) -> Convert:
    def convert(strip: Image.Image) -> Image.Image:
        over = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, (gray, gray, gray, 255)), over).convert("RGB")

    return convert


def _contrast(image: Image.Image) -> int:
    return int(max(high - low for low, high in _ranges(image)))


def _ranges(image: Image.Image) -> list[tuple[int, int]]:
    """Return the smallest and largest value of each channel of a gray or RGB image."""
    ranges = image.getextrema()
    return [ranges] if image.mode == "L" else list(ranges)  # type: ignore[list-item, arg-type]


def _kind(image: Image.Image) -> str:
    return "real" if image.mode == "F" else "whole" if image.mode.startswith("I") else "byte"


def _extremes(image: Image.Image) -> Range:
    """Return the smallest and largest of an image's numbers.

    Raises
    ------
    _UnusableError
        When one is NaN or infinite.
    """
    lows, highs = [], []
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        if not math.isfinite(lows[-1]) or not math.isfinite(highs[-1]):
            raise _UnusableError("holds values that are no numbers (NaN) or infinite")
    return min(lows), max(highs)
