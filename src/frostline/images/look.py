"""One look at one picture file. It needs no torch: the processes that share the work start quickly."""

from dataclasses import dataclass
from pathlib import Path

from frostline.errors import DataError
from frostline.hashing import row_id_of_bytes
from frostline.images.alike import difference_hash
from frostline.images.decode import decode_image, read_file


@dataclass(frozen=True)
class Look:
    """What was seen in one file; ``reason`` says why it cannot be used, ``None`` that it can.

    Attributes
    ----------
    row_id : bytes
        16 bytes; empty when the file could not be opened.
    look : bytes
        Difference hash, 8 bytes; empty when it is no picture.
    side : int
        The longer side in pixels; 0 when it is no picture.
    """

    row_id: bytes
    look: bytes
    side: int
    reason: str | None


def look_at(path: Path) -> Look:
    """Read and decode one file."""
    try:
        data = read_file(path)
    except OSError as error:
        return Look(b"", b"", 0, f"cannot be opened: {error.strerror}")
    row_id = row_id_of_bytes(data)
    if not data:
        return Look(row_id, b"", 0, "is empty")
    try:
        pixels = decode_image(data)
    except DataError as error:
        return Look(row_id, b"", 0, _reason(error))
    return Look(row_id, difference_hash(pixels), max(pixels.shape[:2]), None)


def _reason(error: DataError) -> str:
    return " ".join(str(error).removeprefix("the picture ").rstrip(".").split())
