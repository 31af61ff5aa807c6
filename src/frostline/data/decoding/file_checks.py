"""Identify a file's type and estimate the cost of decoding it, from its bytes and without a decoder."""

import re
import struct
from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

ANY = "convert it to PNG or JPEG"
HEIC = "is HEIC: convert it to JPEG, or pip install 'frostline[heif]'"
RAW = "is a camera's raw file: export it as JPEG or TIFF"
DICOM = "is DICOM: convert its images to PNG or TIFF, e.g. with dcm2pnm or pydicom"
VIDEO = "is a video: extract its frames as images"

# Reasons why files of these types are not read, by file ending.
OTHER_SUFFIXES = {
    ".dcm": DICOM,
    ".dicom": DICOM,
    ".svg": f"is an SVG drawing: {ANY}",
    ".pdf": f"is a PDF document: {ANY}",
    ".psd": f"is a Photoshop document: {ANY}",
    ".eps": f"is an EPS drawing: {ANY}",
    ".jxl": f"is JPEG XL: {ANY}",
    ".jp2": f"is JPEG 2000: {ANY}",
    ".exr": f"is OpenEXR: {ANY}",
    ".ico": f"is an icon: {ANY}",
    ".tga": f"is TGA: {ANY}",
    ".npy": "is a NumPy array: give arrays as .npz or in Python",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"), RAW),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm"), VIDEO),
}

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_OTHERS = (
    (rb"\xff\n|\x00\x00\x00\x0cJXL ", OTHER_SUFFIXES[".jxl"]),
    (rb"\x00\x00\x00\x0cjP  |\xffO\xffQ", OTHER_SUFFIXES[".jp2"]),
    (rb"%PDF-", OTHER_SUFFIXES[".pdf"]),
    (rb"%!PS|\xc5\xd0\xd3\xc6", OTHER_SUFFIXES[".eps"]),
    (rb"8BPS", OTHER_SUFFIXES[".psd"]),
    (rb"\x00\x00[\x01\x02]\x00[\x01-\xff]\x00", OTHER_SUFFIXES[".ico"]),
    (rb"v/1\x01", OTHER_SUFFIXES[".exr"]),
    (rb"\x93NUMPY", OTHER_SUFFIXES[".npy"]),
    (rb"FUJIFILMCCD-RAW|IIU\x00|IIR[OS]|MMOR|II\*\x00....CR|....ftypcrx ", RAW),
    (rb"....ftyp|RIFF....AVI |\x1aE\xdf\xa3", VIDEO),
    (rb"SIMPLE  =", f"is FITS: {ANY}"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "is an archive: unpack it"),
    (rb"version https://git-lfs", "is a Git LFS pointer, not the image itself: run git lfs pull"),
    (rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml.{0,900}?<)?(?:!--.{0,900}?<)?(?:!DOCTYPE )?svg", OTHER_SUFFIXES[".svg"]),
    (rb"(?i)\s*<(?:!doctype )?html", "is an HTML page, not an image: download it again"),
)
_KNOWN = [(re.compile(pattern, re.DOTALL), reason) for pattern, reason in _OTHERS]


def modern_decoder(data: bytes) -> str | None:
    """Return the decoder for AVIF or HEIF data, if it is installed."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS or (brand in (b"mif1", b"msf1") and b"avif" in data[12:64]):
        from PIL import features

        return "AVIF" if features.check("avif") else None
    if brand in _HEIF_BRANDS and find_spec("pillow_heif") is not None:
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener(thumbnails=False)
        return "HEIF"
    return None


def identify_unsupported(data: bytes) -> str | None:
    """Name a file type that is not supported, with what to do about it; ``None`` for unknown bytes."""
    brand = data[8:12] if data[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS:
        return f"is AVIF: {ANY}, or install a Pillow that reads it (11.3 or later)"
    if brand in _HEIF_BRANDS:
        return HEIC
    if data[128:132] == b"DICM":
        return DICOM
    start = data[:2000]
    return next((reason for pattern, reason in _KNOWN if pattern.match(start)), None)


MAX_SCANS = 64  # of a JPEG; progressive ones from cameras and programs have about ten
MAX_SEGMENTS = 2000  # of a JPEG before its first scan: comments, profiles, previews
FREE_CHUNKS = 2000  # of a PNG, plus one for every BYTES_A_CHUNK bytes
BYTES_A_CHUNK = 256

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # in a scan's data 255 is followed by 0 or a restart


def excess_reason(data: bytes) -> str | None:
    """Return which structural limit a JPEG or PNG exceeds; ``None`` when it is within all."""
    if data.startswith(b"\xff\xd8"):
        segments, scans = _count_segments_and_scans(data)
        if segments > MAX_SEGMENTS:
            return f"has more than {MAX_SEGMENTS:,} segments before its pixels"
        return f"has more than {MAX_SCANS} scans" if scans > MAX_SCANS else None
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png_excess(data)
    return None


def count_scans(data: bytes) -> int:
    """Count the scans of a JPEG, without those of previews in its header."""
    return _count_segments_and_scans(data)[1]


def _count_segments_and_scans(data: bytes) -> tuple[int, int]:
    """Count the segments before the first scan of a JPEG, and give an upper bound of its scans."""
    place, segments = 2, 0
    while segments <= MAX_SEGMENTS:  # segments state their length
        marker = _MARKER.search(data, place)
        if marker is None or data[marker.end() - 1] in (0xD9, 0xDA):
            break
        segments += 1
        place = marker.end()
        if data[place - 1] not in (0x01, 0xD8) and place + 2 <= len(data):
            place += max(2, struct.unpack_from(">H", data, place)[0])
    upper_bound = data.count(_SCAN, place)
    if upper_bound <= MAX_SCANS:  # a video after the image may contain the marker by chance
        return segments, upper_bound
    scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, place)) is not None:
        place = marker.end()
        if data[place - 1] == 0xD9:
            break
        scans += data[place - 1] == 0xDA
        if data[place - 1] not in (0x01, 0xD8) and place + 2 <= len(data):
            place += max(2, struct.unpack_from(">H", data, place)[0])
    return segments, scans


def _png_excess(data: bytes) -> str | None:
    place, chunks, limit = 8, 0, FREE_CHUNKS + len(data) // BYTES_A_CHUNK
    while place + 8 <= len(data) and chunks <= limit:
        (length,) = struct.unpack_from(">I", data, place)
        chunks += 1
        place += 12 + length
    return f"has more than {limit:,} chunks" if chunks > limit else None


class Budget(NamedTuple):
    """Limits for one image: seconds of processor time, and bytes in addition to the idle process."""

    seconds: float = 2.0
    memory: int = 300_000_000

    @property
    def too_slow(self) -> str:
        """Message for an image that took longer."""
        return f"takes more than {self.seconds:g} s to decode"

    @property
    def too_large(self) -> str:
        """Message for an image that needed more."""
        return f"needs more than {self.memory / 1e6:,.0f} MB of memory to decode"


BUDGET = Budget()

SAMPLES = 24_000_000  # of a cheap image, over all passes: less than 0.25 s of one core, and 100 MB
PIECES = 1024  # chunks, segments or tags read one by one (milliseconds), plus one for every PIECE_BYTES
PIECE_BYTES = 4096
COUNTED_BYTES = 1 << 21  # counting the pieces of larger files would be slow itself
LOOSE_BYTES = 1 << 16  # of a format whose pieces are not counted

PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 8}  # by color type; transparency needs a second pass
TIFF_PLAIN = {1, 5, 7, 8, 32773, 32946}  # compressions: none, LZW, JPEG, deflate, PackBits
TIFF_TYPES = {3: "H", 4: "I"}


def is_cheap(data: bytes) -> bool:
    """Whether a file's header bounds the work of decoding it to a small amount."""
    magic, decide = CHEAP_BY_MAGIC.get(data[:2], (b"", None))
    if decide is None or not data.startswith(magic):  # of the formats left, only AVIF, HEIF and TIFF have a decoder
        return data[4:8] != b"ftyp" and data[:2] not in (b"II", b"MM")
    try:
        return decide(data) or (len(data) <= COUNTED_BYTES and excess_reason(data) is not None)  # refused at once
    except (struct.error, IndexError, KeyError):  # truncated: reading it ends at its end
        return len(data) <= LOOSE_BYTES


def _is_cheap_png(data: bytes) -> bool:
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    if width * height * PNG_CHANNELS.get(color, 8) * (2 if depth > 8 else 1) > SAMPLES:
        return False
    place, texts = 8, 0
    for _ in range(_pieces(data)):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        if kind == b"IEND":
            return True
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")  # each is decompressed, up to a megabyte
        if texts > 4:
            return False
        place += length + 12
    return False


def _is_cheap_jpeg(data: bytes) -> bool:
    place, size, channels, sequential = 2, SAMPLES + 1, 0, False
    for _ in range(_pieces(data)):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == 0xFFDA:
            if sequential and data[place + 4] == channels:  # data after this scan is not read
                return size <= SAMPLES
            if size * (1 + MAX_SCANS) <= SAMPLES:  # more scans are refused
                return True
            if 3 * size > SAMPLES or len(data) > COUNTED_BYTES:
                return False
            return size * (1 + data.count(b"\xff\xda", place)) <= SAMPLES
        if 0xFFC0 <= marker <= 0xFFC2:
            height, width, channels = struct.unpack_from(">HHB", data, place + 5)
            size, sequential = width * height, marker < 0xFFC2
        elif marker < 0xFFC0 or (0xFFC3 <= marker <= 0xFFCF and marker != 0xFFC4):
            return False
        place += length + 2
    return False


def _is_cheap_gif(data: bytes) -> bool:
    width, height = struct.unpack_from("<HH", data, 6)
    return width * height * 4 <= SAMPLES and len(data) <= LOOSE_BYTES


def _is_cheap_bmp(data: bytes) -> bool:
    size, width, height, _, bits, packed = struct.unpack_from("<IiiHHI", data, 14)
    return size >= 40 and packed in (0, 3) and abs(width * height) * (2 if bits == 32 else 1) * 3 <= SAMPLES


def _is_cheap_webp(data: bytes) -> bool:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = _uint24(data, 24) + 1, _uint24(data, 27) + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return data[8:12] == b"WEBP" and width * height * 8 <= SAMPLES


def _is_cheap_tiff(data: bytes) -> bool:
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    if count > PIECES:
        return False
    tags = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, many = struct.unpack_from(order + "HHI", data, place)
        if tag in (256, 257, 258, 259, 277, 339):
            fits = kind in TIFF_TYPES and many * struct.calcsize(TIFF_TYPES[kind]) <= 4
            at = place + 8 if fits else struct.unpack_from(order + "I", data, place + 8)[0]
            tags[tag] = max(struct.unpack_from(f"{order}{min(many, 8)}{TIFF_TYPES[kind]}", data, at))
        elif many > len(data) // 8 + PIECES:
            return False
    channels = tags.get(277, 1)
    passes = 2 if channels > 3 else 1
    if tags.get(258, 1) > 8 or tags.get(339, 1) != 1:  # floating-point and wide values are scaled
        passes = 4
    return tags.get(259, 1) in TIFF_PLAIN and tags[256] * tags[257] * channels * passes <= SAMPLES


def _uint24(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 3], "little")


def _pieces(data: bytes) -> int:
    return PIECES + len(data) // PIECE_BYTES


CHEAP_BY_MAGIC: dict[bytes, tuple[bytes, Callable[[bytes], bool]]] = {  # by the first two bytes
    magic[:2]: (magic, decide)
    for magic, decide in (
        (b"\x89PNG\r\n\x1a\n", _is_cheap_png),
        (b"\xff\xd8\xff", _is_cheap_jpeg),
        (b"GIF8", _is_cheap_gif),
        (b"BM", _is_cheap_bmp),
        (b"RIFF", _is_cheap_webp),
        (b"II*\0", _is_cheap_tiff),
        (b"MM\0*", _is_cheap_tiff),
    )
}
