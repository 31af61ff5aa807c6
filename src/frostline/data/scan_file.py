"""One look at one image file. It needs no torch: the processes that share the work start quickly."""

from dataclasses import dataclass
from pathlib import Path

from frostline._utils.hashing import row_id_of_bytes
from frostline.data.decoding.decode import MAX_PIXELS, examine, read_file
from frostline.data.levels import Tones
from frostline.data.splits import difference_hash
from frostline.errors import DataError

SIDE = 512  # a look shrinks larger images while they stay at least that large: quicker, and it sees all that it needs


@dataclass(frozen=True)
class ScannedFile:
    """What was seen in one file; ``reason`` says why it cannot be used, ``None`` that it can.

    Attributes
    ----------
    row_id : bytes
        16 bytes; empty when the file could not be opened.
    look : bytes
        Difference hash, 8 bytes; empty when it is no image.
    side : int
        The longer side in pixels; 0 when it is no image.
    tones : Tones
        What values it holds.
    """

    row_id: bytes
    look: bytes
    side: int
    reason: str | None
    tones: Tones


def scan_file(path: Path, max_pixels: int = MAX_PIXELS) -> ScannedFile:
    """Read and decode one file."""
    try:
        data = read_file(path)
    except OSError as error:
        return unusable(f"cannot be opened: {error.strerror}")
    row_id = row_id_of_bytes(data)
    if not data:
        return unusable("is empty", row_id)
    try:
        pixels, side, tones = examine(data, SIDE, max_pixels)
    except DataError as error:
        return unusable(_reason(error), row_id)
    return ScannedFile(row_id, difference_hash(pixels), side, None, tones)


def unusable(reason: str, row_id: bytes = b"") -> ScannedFile:
    """Return the look of a file that cannot be used."""
    return ScannedFile(row_id, b"", 0, reason, Tones())


def _reason(error: DataError) -> str:
    return " ".join(str(error).removeprefix("the image ").rstrip(".").split())
