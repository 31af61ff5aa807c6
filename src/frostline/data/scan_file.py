"""Scan one image file. It loads no torch, so that the processes that share the work start quickly."""

from dataclasses import dataclass
from pathlib import Path

from frostline._utils.hashing import row_id_of_bytes
from frostline.data.decoding.decode import MAX_PIXELS, Square, examine, read_file
from frostline.data.decoding.target import Target
from frostline.data.levels import Tones
from frostline.data.splits import difference_hash
from frostline.errors import DataError


@dataclass(frozen=True)
class ScannedFile:
    """The result of scanning one file.

    Attributes
    ----------
    row_id : bytes
        16 bytes; empty when the file could not be opened.
    difference_hash : bytes
        8 bytes; empty when it is not an image.
    side : int
        The longer side in pixels; 0 when it is not an image.
    reason : str or None
        Why the file cannot be used; ``None`` when it can.
    tones : Tones
        The range and type of its values.
    """

    row_id: bytes
    difference_hash: bytes
    side: int
    reason: str | None
    tones: Tones


def scan_file(
    path: Path, max_pixels: int = MAX_PIXELS, keep: Target | None = None
) -> tuple[ScannedFile, Square | None]:
    """Read and decode one file; return the square for the network's input ``keep``, too."""
    try:
        data = read_file(path)
    except OSError as error:
        return unusable(f"cannot be opened: {error.strerror}"), None
    row_id = row_id_of_bytes(data)
    if not data:
        return unusable("is empty", row_id), None
    try:
        pixels, side, tones, square = examine(data, max_pixels, keep)
    except DataError as error:
        reason = str(error).removeprefix("the image ").rstrip(".")
        return unusable(" ".join(reason.split()), row_id), None
    return ScannedFile(row_id, difference_hash(pixels), side, None, tones), square


def unusable(reason: str, row_id: bytes = b"") -> ScannedFile:
    """Return the result for a file that cannot be used."""
    return ScannedFile(row_id, b"", 0, reason, Tones())
