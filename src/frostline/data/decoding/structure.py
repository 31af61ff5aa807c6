"""Bounds on the structure of a file, from its bytes alone: what makes decoders work long for few pixels."""

import re
import struct

MAX_SCANS = 64  # of a JPEG; progressive ones of cameras and programs have about ten
MAX_SEGMENTS = 2000  # of a JPEG before its first scan: comments, profiles, previews
FREE_CHUNKS = 2000  # of a PNG, and one more for each so many bytes:
BYTES_A_CHUNK = 256

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")  # in a scan's data 255 is followed by 0 or a restart


def excess(data: bytes) -> str | None:
    """Return what a file has more of than any image needs; nothing when it is within bounds."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg(data)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    return None


def count_scans(data: bytes) -> int:
    """Return how many scans a JPEG has, previews in its header not counted."""
    return _walk(data)[1]


def _jpeg(data: bytes) -> str | None:
    segments, scans = _walk(data)
    if segments > MAX_SEGMENTS:
        return f"has more than {MAX_SEGMENTS:,} segments before its pixels"
    if scans > MAX_SCANS:
        return f"has more than {MAX_SCANS} scans"
    return None


def _walk(data: bytes) -> tuple[int, int]:
    """Return how many segments stand before the first scan of a JPEG, and how many scans it has at most."""
    place, segments = 2, 0
    while segments <= MAX_SEGMENTS:  # segments say how long they are
        marker = _MARKER.search(data, place)
        if marker is None or data[marker.end() - 1] in (0xD9, 0xDA):
            break
        segments += 1
        place = marker.end()
        if data[place - 1] not in (0x01, 0xD8) and place + 2 <= len(data):
            place += max(2, struct.unpack_from(">H", data, place)[0])
    most = data.count(_SCAN, place)
    if most <= MAX_SCANS:  # a video behind the image may hold any number of them by chance
        return segments, most
    scans = 0
    while scans <= MAX_SCANS and (marker := _MARKER.search(data, place)) is not None:
        place = marker.end()
        if data[place - 1] == 0xD9:
            break
        scans += data[place - 1] == 0xDA
        if data[place - 1] not in (0x01, 0xD8) and place + 2 <= len(data):
            place += max(2, struct.unpack_from(">H", data, place)[0])
    return segments, scans


def _png(data: bytes) -> str | None:
    place, chunks, most = 8, 0, FREE_CHUNKS + len(data) // BYTES_A_CHUNK
    while place + 8 <= len(data) and chunks <= most:
        (length,) = struct.unpack_from(">I", data, place)
        chunks += 1
        place += 12 + length
    return f"has more than {most:,} chunks" if chunks > most else None
