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
from frostline.data.decoding.target import Target, reduced
from frostline.data.levels import Levels, Range, Tones, to_bytes
from frostline.errors import DataError

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
USUAL_SIDE = 224  # of most networks' input; JPEG files are scanned as large, so that their pixels can be kept
TURNED = (5, 6, 7, 8)  # EXIF orientations of images that lie on their side
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
    target: Target | None = None,
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
    target : Target, optional
        The network's input: return the image halved and framed for it. A JPEG is reduced to 1/2, 1/4 or 1/8 while
        decoding, in its cosine transform: faster, and not bit-identical to halving its pixels.
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
    with _opened(source, formats, max_pixels, target, row_id) as image:
        return _decoded(image, target, levels or Levels())


class Square(NamedTuple):
    """The pixels that `decode_image` returns for some `Target`, and the size (width, height) of the upright image."""

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


def examine(data: bytes, max_pixels: int = MAX_PIXELS, keep: Target | None = None) -> Examined:
    """Decode an entire image, halved while its shorter side stays long enough for a scan; raises as `decode_image`.

    Parameters
    ----------
    keep : Target, optional
        Return the square for this input, too.
    """
    scan = Target(SCAN_SIDE)
    with _opened(data, FORMATS, max_pixels, scan) as image:
        longer_side = max(image.size)
        if image.format in ("JPEG", "MPO"):
            scan = Target(USUAL_SIDE, "pad")
        size, drafted = _drafted(image, scan)
        factors = _divided(scan.factors(*size), drafted)
        kind = _kind(image)
        low, high = _extremes(image) if kind != "byte" else (0.0, 0.0)
        transparent = kind == "byte" and image.has_transparency_data
        scale = (low, high) if low < high else None
        converted = _to_gray_or_rgb(image, factors, Levels(scale, scale, contrast=True))
        ranges = _ranges(converted)
        if kind == "byte":
            low, high = float(min(darkest for darkest, _ in ranges)), float(max(brightest for _, brightest in ranges))
        flat = all(darkest == brightest for darkest, brightest in ranges) and (kind == "byte" or low == high)
        square = None
        if keep is not None and kind == "byte" and not transparent:
            square = _square(image, size, drafted, keep)
        return Examined(np.asarray(converted), longer_side, Tones(kind, low, high, transparent, flat), square)


def _square(image: Image.Image, size: tuple[int, int], drafted: int, target: Target) -> Square | None:
    """Return the square of a decoded image, if it is much smaller and a draft for ``target`` would be the same."""
    factors = target.factors(*size)
    same = drafted == (min(*factors, MAX_DRAFT) if image.format in ("JPEG", "MPO") else 1)
    if factors == (1, 1) or not same:
        return None
    image = _to_gray_or_rgb(image, _divided(factors, drafted), Levels())
    return Square(np.asarray(target.frame(image)), size)


def image_header(source: Path | bytes, max_pixels: int = MAX_PIXELS) -> tuple[tuple[int, int], str]:
    """Return an image's size (width, height) and Pillow mode; raises as `decode_image`."""
    with _opened(source, FORMATS, max_pixels, Target(1)) as image:
        return image.size, image.mode


@contextmanager
def _opened(
    source: Path | bytes,
    formats: tuple[str, ...],
    max_pixels: int,
    target: Target | None,
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
                needed, allowed = _memory(image, data, target), budget_of(max_pixels).memory
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


def _memory(image: Image.Image, data: bytes, target: Target | None) -> int:
    """Estimate from the header how many bytes decoding needs at most."""
    width, height = image.size
    pixels, factor = width * height, 1
    coefficients = 0
    if image.format in ("JPEG", "MPO"):
        coefficients = _coefficients(image, data)
        factor = 1 if target is None else min(*target.factors(width, height), MAX_DRAFT)
    decoded = pixels // factor**2 * BYTES_A_PIXEL.get(image.mode, 4)
    rotated = decoded if _may_be_rotated(image) else 0
    result = 3 * pixels if target is None else 0
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


def _decoded(image: Image.Image, target: Target | None, levels: Levels) -> NDArray[np.uint8]:
    if target is None:
        _upright(image)
        return np.asarray(_to_gray_or_rgb(image, (1, 1), levels))
    size, drafted = _drafted(image, target)
    image = _to_gray_or_rgb(image, _divided(target.factors(*size), drafted), levels)
    return np.asarray(target.frame(image))


def _drafted(image: Image.Image, target: Target) -> tuple[tuple[int, int], int]:
    """Decode an image upright, a JPEG reduced; return its full size, upright, and the factor of the reduction."""
    width, height = image.size
    factor = min(target.factors(width, height))
    image.draft(None, (max(1, width // factor), max(1, height // factor)))  # has no effect on other formats
    drafted = round(max(width, height) / max(image.size))  # of the longer side: the shorter may have few pixels
    turned = _upright(image)
    return ((height, width) if turned else (width, height)), drafted


def _divided(factors: tuple[int, int], drafted: int) -> tuple[int, int]:
    return factors[0] // drafted, factors[1] // drafted


def image_pixels(image: Image.Image, levels: Levels | None = None) -> NDArray[np.uint8]:
    """Return an opened image's pixels as `decode_image` does; raises ``DataError`` when it has NaN or infinity."""
    try:
        return _decoded(image, None, levels or Levels())
    except _UnusableError as error:
        raise DataError(f"the image {error}.") from error


def _upright(image: Image.Image) -> bool:
    """Decode an image and apply its orientation; return whether width and height have changed places."""
    image.load()
    orientation = image.getexif().get(0x0112, 1)
    if orientation != 1:
        ImageOps.exif_transpose(image, in_place=True)
    return orientation in TURNED


def _to_gray_or_rgb(image: Image.Image, factors: tuple[int, int], levels: Levels) -> Image.Image:
    """Convert an image to mode L or RGB, with width and height reduced by factors.

    This is done in strips of entire blocks: a copy of a large image in another mode would need as much memory again.
    """
    kind = _kind(image)
    if kind != "byte":
        scale = levels.scale_of(image.mode, *_extremes(image))
        return _in_strips(image, factors, "L", lambda strip: Image.fromarray(to_bytes(np.asarray(strip), scale)))
    if image.has_transparency_data:
        on_white = _in_strips(image, factors, "RGB", _composite_on(255))
        if levels.contrast and _contrast(on_white) <= FAINT:
            on_black = _in_strips(image, factors, "RGB", _composite_on(0))
            return on_black if _contrast(on_black) > _contrast(on_white) else on_white
        return on_white
    mode = "L" if image.mode in ("1", "L") else "RGB"
    if image.mode == mode:
        return reduced(image, factors)
    return _in_strips(image, factors, mode, lambda strip: strip.convert(mode))


def _in_strips(image: Image.Image, factors: tuple[int, int], mode: str, convert: Convert) -> Image.Image:
    across, down = factors
    rows = max(1, STRIP_PIXELS // (image.width * down)) * down
    if rows >= image.height:
        return reduced(convert(image), factors)
    result = Image.new(mode, (-(-image.width // across), -(-image.height // down)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        result.paste(reduced(strip, factors), (0, top // down))
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
