"""Digests of pixels, files, arrays and JSON values.

BLAKE2b, which is fast without special processor instructions and in the standard library; SHA-256 for weights.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ROW_ID_BYTES = 16


def digest_json(value: Any) -> str:
    """Return 32 hex digits for a JSON value; key order and white space do not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return digest_bytes(text.encode())


def digest_bytes(data: bytes) -> str:
    """Return 32 hex digits for bytes."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Return the `digest_bytes` of a file, read in pieces."""
    with path.open("rb") as file:
        return digest_open_file(file)


def digest_open_file(file: BinaryIO) -> str:
    """Return the `digest_bytes` of the rest of an open file, read in pieces."""
    return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def row_id_of_bytes(data: bytes) -> bytes:
    """Return the 16-byte row ID of an image file, from its bytes: a renamed copy has the same ID."""
    return hashlib.blake2b(data, digest_size=ROW_ID_BYTES, person=b"file").digest()


def row_ids_of_pixels(images: NDArray[np.uint8]) -> list[bytes]:
    """Return a 16-byte row ID for each image of an array (N, H, W) or (N, H, W, 3), from its pixels and shape."""
    shape = "x".join(map(str, images.shape[1:])).encode()[:16]
    flat = np.ascontiguousarray(images).reshape(len(images), math.prod(images.shape[1:]))
    return [hashlib.blake2b(row.data, digest_size=ROW_ID_BYTES, person=shape).digest() for row in flat]


def digest_arrays(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Return the SHA-256 over named arrays (name, dtype, shape, bytes), in the order given, as 64 hex digits."""
    total = hashlib.sha256()
    for name, array in arrays:
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return total.hexdigest()
