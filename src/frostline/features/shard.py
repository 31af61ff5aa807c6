"""Shards and manifest of a feature store: files are checked in full, header and bytes, before they are mapped."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, fault_of, open_file, read_bytes
from frostline._utils.hashing import ROW_ID_BYTES, digest_json
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_CACHE, write_json
from frostline.errors import storage_error

VIEW_BYTES = 4
KEY_BYTES = ROW_ID_BYTES + VIEW_BYTES
MAX_HEADER_BYTES = 1 << 16  # our shards hold two tensors; a longer header is not ours
MAX_SHARD_ROWS = 1 << 24
SHARD_NAME = r"^shard-[0-9]{5,12}\.safetensors$"

Rows = NDArray[np.generic]
_TYPES: dict[str, Any] = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}
# (bits of a float without its sign, the least of them that is infinite or NaN): twenty times as quick as isfinite
_BITS = {"float16": (np.uint16, 0x7FFF, 0x7C00), "float32": (np.uint32, 0x7FFFFFFF, 0x7F800000)}
_PIECE = 1 << 18  # numbers checked at a time: they fit the processor's cache


class ShardEntry(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    file: str = Field(pattern=SHARD_NAME)
    rows: int = Field(ge=1, le=MAX_SHARD_ROWS)
    bytes: int = Field(ge=8, le=MAX_TENSOR_FILE_BYTES)
    blake2b: str = Field(pattern="^[0-9a-f]{32}$")

    @property
    def number(self) -> int:
        """The shard's number."""
        return shard_number(self.file)


def shard_name(number: int) -> str:
    """Return the file name of a shard; from 100,000 on it has more than five digits."""
    return f"shard-{number:05d}.safetensors"


def shard_number(name: str) -> int:
    """Return the number in a shard's file name."""
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))


class _Tensor(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    dtype: Literal["U8", "F16", "F32"]
    shape: list[PositiveInt] = Field(min_length=2, max_length=8)
    data_offsets: list[NonNegativeInt] = Field(min_length=2, max_length=2)

    @property
    def size(self) -> int:
        return math.prod(self.shape) * int(np.dtype(_TYPES[self.dtype]).itemsize)


class _Header(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)  # "__metadata__" is allowed by the format

    keys: _Tensor
    rows: _Tensor


@dataclass(frozen=True)
class Shard:
    """The content of a valid shard.

    Attributes
    ----------
    keys : list of bytes
        One of 20 bytes per row.
    rows : ndarray (N, ...)
        Memory-mapped.
    """

    keys: list[bytes]
    rows: Rows


def read_shard(folder: Path, entry: ShardEntry, dtype: str | None = None, *, written: bool = False) -> Shard | str:
    """Verify a shard and map it, or return what is wrong with it.

    Parameters
    ----------
    entry : ShardEntry
        Its line in the manifest.
    dtype : str, optional
        ``float16`` or ``float32``: the store's.
    written : bool
        Skip the checksum: this process has just written the file.
    """
    try:
        with open_file(folder / entry.file, MAX_TENSOR_FILE_BYTES) as file:
            return _bytes_fault(file, entry, written=written) or _mapped(file, entry, dtype, written=written)
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return error.strerror or str(error)


def _bytes_fault(file: BufferedReader, entry: ShardEntry, *, written: bool) -> str:
    size = os.fstat(file.fileno()).st_size
    if size != entry.bytes:
        return f"{size:,} bytes, expected {entry.bytes:,}"
    if written or hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest() == entry.blake2b:
        return ""
    return "its checksum is wrong"


def _mapped(file: BufferedReader, entry: ShardEntry, dtype: str | None, *, written: bool) -> Shard | str:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, entry.bytes - 8):
        return f"its header has {length:,} bytes"
    try:
        header = _Header.model_validate_json(file.read(length))
    except ValueError:
        return "its header is invalid"
    if fault := _layout_fault(header, entry, entry.bytes - 8 - length, dtype):
        return fault
    keys, rows = (
        np.memmap(file, _TYPES[tensor.dtype], "r", 8 + length + tensor.data_offsets[0], tuple(tensor.shape))
        for tensor in (header.keys, header.rows)
    )
    if not written and not _finite(rows):
        return "some of its numbers are not finite"
    packed = keys.tobytes()
    return Shard([packed[start : start + KEY_BYTES] for start in range(0, len(packed), KEY_BYTES)], rows)


def _layout_fault(header: _Header, entry: ShardEntry, data_bytes: int, dtype: str | None) -> str:
    keys, rows = header.keys, header.rows
    if keys.dtype != "U8" or keys.shape != [entry.rows, KEY_BYTES]:
        return f"its keys are {keys.dtype} {keys.shape}, expected U8 [{entry.rows}, {KEY_BYTES}]"
    kind = np.dtype(_TYPES[rows.dtype]).name
    if kind not in _BITS or kind != (dtype or kind):
        return f"its rows are {kind}, expected {dtype or 'float16 or float32'}"
    if rows.shape[0] != entry.rows:
        return f"it holds {rows.shape[0]:,} rows, expected {entry.rows:,}"
    places = sorted((tensor.data_offsets, tensor.size) for tensor in (keys, rows))
    (first, first_size), (second, second_size) = places
    contiguous = [first, second] == [[0, first_size], [first_size, first_size + second_size]]
    if not contiguous or first_size + second_size != data_bytes:
        return "its header does not agree with its size"
    return ""


def _finite(rows: Rows) -> bool:
    unsigned, without_sign, infinite = _BITS[rows.dtype.name]
    flat = rows.reshape(-1).view(unsigned)
    pieces = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
    return all(int((piece & unsigned(without_sign)).max()) < infinite for piece in pieces)


MANIFEST = "manifest.json"


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    shards: list[ShardEntry]
    checksum: str


def write_manifest(folder: Path, entries: Sequence[ShardEntry]) -> None:
    """List the shards, with a checksum of the list itself."""
    shards = [entry.model_dump() for entry in entries]
    write_json(folder / MANIFEST, {"shards": shards, "checksum": digest_json(shards)}, OTHER_CACHE)


def read_manifest(folder: Path) -> list[ShardEntry]:
    """Return the listed shards; none, with a warning, if the manifest is damaged.

    Raises
    ------
    StorageError
        If the manifest cannot be read, or is not a file.
    """
    path = folder / MANIFEST
    try:
        return parse_manifest(read_bytes(path))
    except FileNotFoundError:
        return []
    except ValueError as error:
        log.warning("%s is damaged (%s): its rows are computed again", path, fault_of(error))
        return []
    except OSError as error:
        raise storage_error(error, path, OTHER_CACHE) from error


def parse_manifest(data: bytes) -> list[ShardEntry]:
    """Return the shards that the content of a manifest lists.

    Raises
    ------
    ValueError
        When it is no manifest, or its checksum is wrong.
    """
    listed = _Manifest.model_validate_json(data)
    if listed.checksum != digest_json([entry.model_dump() for entry in listed.shards]):
        raise ValueError("its checksum is wrong")
    if len({entry.number for entry in listed.shards}) != len(listed.shards):
        raise ValueError("it lists a shard twice")
    return listed.shards
