"""What decoding an image will cost, judged by its bytes alone, without any decoder.

An image is *cheap* when its header bounds the work: sizes, passes over the pixels, and pieces that are read one by one.
Everything else, and whatever is not understood here, is *costly*; that is no verdict on it, only a slower way.
"""

import struct
from collections.abc import Callable

from frostline.data.decoding.structure import MAX_SCANS, excess

SAMPLES = 24_000_000  # of a cheap image, over all passes: less than a quarter of a second of one core, and 100 MB
PIECES = 1024  # chunks, segments or tags that are read one by one: milliseconds; and one for each PIECE_BYTES
PIECE_BYTES = 4096
COUNTED_BYTES = 1 << 21  # counting the pieces of larger files would take long itself
LOOSE_BYTES = 1 << 16  # of a format whose pieces are not counted here

PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 8}  # by color type; transparency is laid on a ground, which is a second pass
TIFF_PLAIN = {1, 5, 7, 8, 32773, 32946}  # compressions: none, LZW, JPEG, deflate, PackBits
TIFF_TYPES = {3: "H", 4: "I"}


def is_cheap(data: bytes) -> bool:
    """Whether the work of decoding an image is bounded by what its header says.

    Parameters
    ----------
    data : bytes
        A file's content.
    """
    magic, judge = JUDGES.get(data[:2], (b"", None))
    if judge is None or not data.startswith(magic):  # no decoder that is open here takes it, but for these
        return data[4:8] != b"ftyp" and data[:2] not in (b"II", b"MM")
    try:
        return judge(data) or (len(data) <= COUNTED_BYTES and excess(data) is not None)  # which is refused at once
    except (struct.error, IndexError, KeyError):  # too short to be an image: reading it ends where it ends
        return len(data) <= LOOSE_BYTES


def _png(data: bytes) -> bool:
    width, height, depth, color = struct.unpack_from(">IIBB", data, 16)
    if width * height * PNG_CHANNELS.get(color, 8) * (2 if depth > 8 else 1) > SAMPLES:
        return False
    place, texts = 8, 0
    for _ in range(_pieces(data)):
        (length,) = struct.unpack_from(">I", data, place)
        kind = data[place + 4 : place + 8]
        if kind == b"IEND":
            return True
        texts += kind in (b"zTXt", b"iTXt", b"iCCP")  # each is unpacked: up to a megabyte
        if texts > 4:
            return False
        place += length + 12
    return False


def _jpeg(data: bytes) -> bool:
    place, size, channels, sequential = 2, SAMPLES + 1, 0, False
    for _ in range(_pieces(data)):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == 0xFFDA:
            if sequential and data[place + 4] == channels:  # what stands behind this scan is not read
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


def _gif(data: bytes) -> bool:
    width, height = struct.unpack_from("<HH", data, 6)
    return width * height * 4 <= SAMPLES and len(data) <= LOOSE_BYTES


def _bmp(data: bytes) -> bool:
    size, width, height, _, bits, packed = struct.unpack_from("<IiiHHI", data, 14)
    return size >= 40 and packed in (0, 3) and abs(width * height) * (2 if bits == 32 else 1) * 3 <= SAMPLES


def _webp(data: bytes) -> bool:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = _three(data, 24) + 1, _three(data, 27) + 1
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return data[8:12] == b"WEBP" and width * height * 8 <= SAMPLES


def _tiff(data: bytes) -> bool:
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
    if tags.get(258, 1) > 8 or tags.get(339, 1) != 1:  # real numbers and wide ones are scaled
        passes = 4
    return tags.get(259, 1) in TIFF_PLAIN and tags[256] * tags[257] * channels * passes <= SAMPLES


def _three(data: bytes, place: int) -> int:
    return int.from_bytes(data[place : place + 3], "little")


def _pieces(data: bytes) -> int:
    return PIECES + len(data) // PIECE_BYTES


JUDGES: dict[bytes, tuple[bytes, Callable[[bytes], bool]]] = {  # by the first two bytes
    magic[:2]: (magic, judge)
    for magic, judge in (
        (b"\x89PNG\r\n\x1a\n", _png),
        (b"\xff\xd8\xff", _jpeg),
        (b"GIF8", _gif),
        (b"BM", _bmp),
        (b"RIFF", _webp),
        (b"II*\0", _tiff),
        (b"MM\0*", _tiff),
    )
}
