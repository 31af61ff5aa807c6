"""Decode image files of any mode and size to pixels, within limits for untrusted files."""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (  # Pillow would load all its decoders if one of these was missing
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
from frostline.data.decoding.file_checks import (
    BUDGET,
    Budget,
    count_scans,
    excess_reason,
    identify_unsupported,
    modern_decoder,
)
from frostline.data.levels import Levels, Range, Tones, to_bytes
from frostline.errors import DataError


def halved_by(width: int, height: int, side: int) -> int:
    """Return the largest power of two by which both sides can be divided, rounding up, and stay at least ``side``."""
    factor = 1
    short = min(width, height)
    while factor < short and -(-short // (2 * factor)) >= side:
        factor *= 2
    return factor


def center_square(image: Image.Image, side: int, factor: int | None = None) -> Image.Image:
    """Return the center square of a gray or RGB image, halved (block means) while it stays at least ``side`` pixels.

    Applying it to its own result changes nothing. ``factor`` is the reduction; `halved_by` by default.
    """
    factor = factor or halved_by(*image.size, side)
    return crop_to_square(image.reduce(factor) if factor > 1 else image)


def crop_to_square(image: Image.Image) -> Image.Image:
    """Return the center square of an image."""
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


FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "HEIF")  # no exotic decoders
MODERN = ("AVIF", "HEIF")  # only for files that declare these types; HEIF needs pillow-heif
SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "bmp", "gif", "webp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "avif", "heic", "heif"),
    )
)
MAX_BYTES = 500_000_000  # of a file
MAX_PIXELS = 100_000_000  # larger images are refused before decoding
STRIP_PIXELS = 1 << 18  # converted at a time, which avoids a second copy of the image
SCAN_SIDE = 512  # larger images are halved while both sides stay at least this long: quicker, and enough for a scan
JPEG_SCAN_SIDE = 224  # of JPEG files: decoded as for most networks, so that a scan can keep the pixels for them
MAX_DRAFT = 8  # by which a JPEG can be reduced while decoding
FAINT = 8  # gray levels: an image with less contrast is considered invisible

BYTES_A_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # in Pillow; 4 in other modes
# Additional bytes per pixel in decoders: canvases, the frame as bytes.
MORE_BYTES = {"WEBP": 12, "AVIF": 12, "HEIF": 12, "GIF": 4, "PPM": 3}
Convert = Callable[[Image.Image], Image.Image]
REDUCED_PREVIEW = 1  # a TIFF's NewSubfileType: a smaller version of another image in the file


class _UnusableError(Exception):
    """An image can be decoded but not used; the message is the reason, without the file's name."""


def budget_of(max_pixels: int) -> Budget:
    """Return the budget for decoding one image: larger in proportion if more pixels than usual are allowed."""
    scale = max(1.0, max_pixels / MAX_PIXELS)
    return Budget(BUDGET.seconds * scale, int(BUDGET.memory * scale))


def decode_image(
    source: Path | bytes,
    side: int | None = None,
    formats: tuple[str, ...] = FORMATS,
    max_pixels: int = MAX_PIXELS,
    levels: Levels | None = None,
    row_id: bytes | None = None,
) -> NDArray[np.uint8]:
    """Decode one image.

    Transparent images are laid on white, 16-bit and floating-point values are scaled to 8 bits, an animation gives its
    first frame, and the EXIF orientation is applied.

    Parameters
    ----------
    source : Path or bytes
        A file, or its content.
    side : int, optional
        Side of the network's input: return the center square, halved while it stays at least that large
        (`center_square`). A JPEG is reduced to 1/2, 1/4 or 1/8 while decoding, in its cosine transform: faster, and not
        bit-identical to halving its pixels.
    formats : tuple of str
        Decoders to try, out of `FORMATS`.
    max_pixels : int
        Larger images are refused.
    levels : Levels, optional
        The data set's value scale and background color.
    row_id : bytes, optional
        Expected digest of the content (`frostline._utils.hashing.row_id_of_bytes`).

    Returns
    -------
    ndarray of uint8
        (H, W) for gray images, (H, W, 3) RGB for all others.

    Raises
    ------
    DataError
        When it is not an image of these formats, is damaged, contains NaN or infinity, has too many pixels, needs more
        memory than `budget_of` allows, or has other content than expected.
    MemoryError
        When the process reaches its memory limit.
    """
    with _opened(source, formats, max_pixels, side, row_id) as image:
        return _decoded(image, side, levels or Levels())


class Square(NamedTuple):
    """The pixels that `decode_image` returns for some ``side``, and the size (width, height) of the image."""

    pixels: NDArray[np.uint8]
    size: tuple[int, int]


class Examined(NamedTuple):
    """Pixels (H, W) or (H, W, 3) of an entire image, the longer side of the image in the file, and its tones.

    ``square`` is for later use; ``None`` where decoding it would not be saved, or not give the same pixels.
    """

    pixels: NDArray[np.uint8]
    longer_side: int
    tones: Tones
    square: Square | None


def examine(data: bytes, max_pixels: int = MAX_PIXELS, keep_side: int | None = None) -> Examined:
    """Decode an entire image, halved while its shorter side stays long enough for a scan; raises as `decode_image`.

    Parameters
    ----------
    keep_side : int, optional
        Return the square for a network's input of this side, too.
    """
    with _opened(data, FORMATS, max_pixels, SCAN_SIDE) as image:
        size, longer_side = image.size, max(image.size)
        factor = _draft(image, JPEG_SCAN_SIDE if image.format in ("JPEG", "MPO") else SCAN_SIDE)
        drafted = round(size[0] / image.width)
        _apply_orientation(image)
        kind = _kind(image)
        low, high = _extremes(image) if kind != "byte" else (0.0, 0.0)
        transparent = kind == "byte" and image.has_transparency_data
        scale = (low, high) if low < high else None
        converted = _to_gray_or_rgb(image, factor, Levels(scale, scale, contrast=True))
        ranges = _ranges(converted)
        if kind == "byte":
            low, high = float(min(darkest for darkest, _ in ranges)), float(max(brightest for _, brightest in ranges))
        flat = all(darkest == brightest for darkest, brightest in ranges) and (kind == "byte" or low == high)
        square = None
        if keep_side is not None and kind == "byte" and not transparent:
            square = _square(image, size, drafted, keep_side)
        return Examined(np.asarray(converted), longer_side, Tones(kind, low, high, transparent, flat), square)


def _square(image: Image.Image, size: tuple[int, int], drafted: int, side: int) -> Square | None:
    """Return the square of a decoded image, if it is much smaller and a draft for ``side`` would be the same."""
    factor = halved_by(*size, side)
    same = drafted == (min(factor, MAX_DRAFT) if image.format in ("JPEG", "MPO") else 1)
    if factor == 1 or not same:
        return None
    return Square(np.asarray(crop_to_square(_to_gray_or_rgb(image, factor // drafted, Levels()))), size)


def image_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], str]:
    """Return an image's size (width, height) and Pillow mode; raises as `decode_image`."""
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
    excess = excess_reason(data)
    if excess:
        raise DataError(f"{name} {excess}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata, and Pillow's own size limit: ours applies
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
                    raise DataError(f"{name} begins with a small preview, as camera raw files do: export it as JPEG.")
                yield image
    except UnidentifiedImageError as error:
        reason = identify_unsupported(data) or f"is not a readable image: expected one of {', '.join(formats)}"
        raise DataError(f"{name} {reason}.") from error
    except Image.DecompressionBombError as error:  # twice Pillow's own limit: raised before ours is checked
        raise DataError(f"{name} claims too many pixels: at most {max_pixels:,} are read.") from error
    except _UnusableError as error:
        raise DataError(f"{name} {error}.") from error
    except (DataError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything on damaged files
        raise DataError(f"{name} is damaged and cannot be decoded: {error}.") from error


def read_file(path: Path) -> bytes:
    """Return a file's content; raises ``OSError``, also when it is not a regular file, or larger than 500 MB."""
    return read_bytes(path, MAX_BYTES)


def _decoders(data: bytes, formats: tuple[str, ...]) -> list[str]:
    modern = modern_decoder(data)
    return [modern] if modern in formats else [name for name in formats if name not in MODERN]


def _tag(image: Image.Image, number: int) -> int:
    value = getattr(image, "tag_v2", {}).get(number, 0)
    return value if isinstance(value, int) else 0


def _memory(image: Image.Image, data: bytes, side: int | None) -> int:
    """Estimate from the header how many bytes decoding needs at most."""
    width, height = image.size
    pixels, factor = width * height, 1
    coefficients = 0
    if image.format in ("JPEG", "MPO"):
        coefficients = _coefficients(image, data)
        factor = 1 if side is None else min(8, halved_by(width, height, side))
    decoded = pixels // factor**2 * BYTES_A_PIXEL.get(image.mode, 4)
    rotated = decoded if _may_be_rotated(image) else 0
    result = 3 * pixels if side is None else 0
    return len(data) + coefficients + decoded + max(pixels * MORE_BYTES.get(image.format or "", 0), rotated, result)


def _may_be_rotated(image: Image.Image) -> bool:
    if image.format == "PNG":  # reading the orientation would decode it
        return "exif" in image.info
    return bool(image.getexif().get(0x0112, 1) != 1)


def _coefficients(image: Image.Image, data: bytes) -> int:
    """Return the memory for the coefficients of a JPEG with several scans: all at once, 16 bits each."""
    layers = getattr(image, "layer", [])
    if not layers or (not image.info.get("progressive") and count_scans(data) < 2):
        return 0
    most = max(h for _, h, _, _ in layers) * max(v for _, _, v, _ in layers)
    share: float = sum(h * v for _, h, v, _ in layers) / most
    return math.ceil(2 * image.width * image.height * share)


def _decoded(image: Image.Image, side: int | None, levels: Levels) -> NDArray[np.uint8]:
    factor = 1 if side is None else _draft(image, side)
    _apply_orientation(image)
    converted = _to_gray_or_rgb(image, factor, levels)
    return np.asarray(converted if side is None else crop_to_square(converted))


def _draft(image: Image.Image, side: int) -> int:
    """Have a JPEG reduced while decoding; return the reduction that remains to be done, for any image."""
    width, height = image.size
    factor = halved_by(width, height, side)
    image.draft(None, (width // factor, height // factor))  # has no effect on other formats
    return factor // round(width / image.width)


def image_pixels(image: Image.Image, levels: Levels | None = None) -> NDArray[np.uint8]:
    """Return an opened image's pixels as `decode_image` does; raises ``DataError`` when it has NaN or infinity."""
    try:
        return _decoded(image, None, levels or Levels())
    except _UnusableError as error:
        raise DataError(f"the image {error}.") from error


def _apply_orientation(image: Image.Image) -> None:
    image.load()
    if image.getexif().get(0x0112, 1) != 1:
        ImageOps.exif_transpose(image, in_place=True)


def _to_gray_or_rgb(image: Image.Image, factor: int, levels: Levels) -> Image.Image:
    """Convert an image to mode L or RGB, reduced by a factor.

    This is done in strips of entire blocks: a copy of a large image in another mode would need as much memory again.
    """
    kind = _kind(image)
    if kind != "byte":
        scale = levels.scale_of(image.mode, *_extremes(image))
        return _in_strips(image, factor, "L", lambda strip: Image.fromarray(to_bytes(np.asarray(strip), scale)))
    if image.has_transparency_data:
        on_white = _in_strips(image, factor, "RGB", _composite_on(255))
        if levels.contrast and _contrast(on_white) <= FAINT:
            on_black = _in_strips(image, factor, "RGB", _composite_on(0))
            return on_black if _contrast(on_black) > _contrast(on_white) else on_white
        return on_white
    mode = "L" if image.mode in ("1", "L") else "RGB"
    if image.mode == mode:
        return image.reduce(factor) if factor > 1 else image
    return _in_strips(image, factor, mode, lambda strip: strip.convert(mode))


def _in_strips(image: Image.Image, factor: int, mode: str, convert: Convert) -> Image.Image:
    rows = max(1, STRIP_PIXELS // (image.width * factor)) * factor
    if rows >= image.height:
        converted = convert(image)
        return converted.reduce(factor) if factor > 1 else converted
    result = Image.new(mode, (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        result.paste(strip.reduce(factor) if factor > 1 else strip, (0, top // factor))
    return result


def _composite_on(gray: int) -> Convert:
    def convert(strip: Image.Image) -> Image.Image:
        rgba = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (gray, gray, gray, 255)), rgba).convert("RGB")

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
    """Return the smallest and largest value of an image; raises `_UnusableError` when one is NaN or infinite."""
    lows, highs = [], []
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        lows.append(float(values.min()))
        highs.append(float(values.max()))
        if not math.isfinite(lows[-1]) or not math.isfinite(highs[-1]):
            raise _UnusableError("contains NaN or infinite values")
    return min(lows), max(highs)
