"""The IDX format of the MNIST family: a big-endian header, then bytes; plain or gzip.

Format: http://yann.lecun.com/exdb/mnist (magic 0x0000 08 DD with DD dimensions, then DD 32-bit sizes, then bytes).
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from frostline.errors import DataError

MAX_BYTES = 1 << 30  # no member of the family comes near; a header that claims more is a broken or hostile file


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

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
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return _read(cast(BinaryIO, file), path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or cut short ({error}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(file: BinaryIO, path: Path, dimensions: int) -> NDArray[np.uint8]:
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
    return np.frombuffer(data, np.uint8).reshape(shape)
