"""The IDX format of the MNIST family: a big-endian header, then bytes; plain or gzip.

Format: http://yann.lecun.com/exdb/mnist (magic 0x0000 08 DD with DD dimensions, then DD 32-bit sizes, then bytes).
"""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from frostline._utils.files import open_file
from frostline.errors import DataError

MAX_HEADER_BYTES = 4 + 4 * 255
MAX_BYTES = 1 << 30  # no member of the family comes near; a header that claims more is a broken or hostile file


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes; see `read_idx_and_md5`."""
    return read_idx_and_md5(path, dimensions)[0]


def read_idx_and_md5(path: Path, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    """Read an IDX file of unsigned bytes, and return the MD5 of what it holds unpacked, too.

    Parameters
    ----------
    path : Path
        The file, plain or gzip (told by its first two bytes, not by its name).
    dimensions : int
        How many dimensions it must have: 3 for images (N, H, W), 1 for labels (N,).

    Raises
    ------
    DataError
        When it is missing, of another kind, cut short, longer than its header says, or claims over 1 GiB.
    """
    try:
        with open_file(path, MAX_BYTES + MAX_HEADER_BYTES) as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            return _read(cast(BinaryIO, gzip.open(raw) if packed else raw), path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short ({error}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(file: BinaryIO, path: Path, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path} is no IDX file of {dimensions}-dimensional bytes: expected it to begin with "
            f"00 00 08 {dimensions:02x}, got {header[:4].hex(' ') or 'nothing'}."
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if size > MAX_BYTES:
        raise DataError(f"{path} claims {size:,} bytes of data (shape {shape}): at most {MAX_BYTES:,} are read.")
    data = file.read(size + 1)
    if len(data) != size:
        found = "more than" if len(data) > size else f"{len(data):,} of"
        raise DataError(f"{path} holds {found} the {size:,} bytes its header {shape} promises: get the file again.")
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(data)
    return np.frombuffer(data, np.uint8).reshape(shape), digest.hexdigest()
