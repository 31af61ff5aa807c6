"""Kept activations on disk: one folder per way of computing, rows in checksummed shards.

    activations/<spec digest>/
      spec.json                 how the rows were computed
      manifest.json             the shards: file, rows, bytes, BLAKE2b; and a checksum of this list
      shard-00000.safetensors   "keys" uint8 (N, 20): row id and view; "rows" (N, ...): activations
      lock                      held while rows are added

`docs/cache-format.md` specifies the bytes. A shard is listed only after it is whole on disk.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from frostline.activations.spec import ActivationSpec
from frostline.errors import StorageError, storage_error
from frostline.hashing import ROW_ID_BYTES, digest_bytes, digest_file, digest_json
from frostline.progress import log
from frostline.storage import clear_parts, write_bytes, write_json

VIEW_BYTES = 4
KEY_BYTES = ROW_ID_BYTES + VIEW_BYTES
REMEDY = "--cache-dir chooses another cache"
MAX_HEADER_BYTES = 1 << 16  # our shards hold two tensors; a longer header is not ours
Rows = NDArray[np.generic]


def row_key(row_id: bytes, view: int = 0) -> bytes:
    """Return the 20-byte key of one view of one picture."""
    return row_id + view.to_bytes(VIEW_BYTES, "little")


@dataclass(frozen=True)
class ShardEntry:
    """One line of the manifest."""

    file: str
    rows: int
    bytes: int
    blake2b: str


@dataclass(frozen=True)
class Place:
    """Where a row lies."""

    shard: int
    row: int


class Store:
    """The rows of one way of computing.

    Parameters
    ----------
    cache : Path
        Frostline's cache folder.
    spec : ActivationSpec
        Names the store.
    """

    def __init__(self, cache: Path, spec: ActivationSpec) -> None:
        self.spec = spec
        self.folder = cache / "activations" / spec.digest
        self.shards: list[Rows] = []  # memory-mapped
        self.index: dict[bytes, Place] = {}
        self.damaged: list[str] = []  # shards that the last load named and left out
        self._entries: list[ShardEntry] = []

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the store alone while rows are added; yields whether it may be written.

        Waits for another process that fills it. A cache that cannot be written is still read.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("waiting for another process that computes the same activations")
                lock.acquire(poll_interval=0.1)
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            log.debug("the cache at %s is read-only: %s", self.folder, error)
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def load(self, *, writable: bool) -> None:
        """Read the manifest, verify every shard's bytes, and index the rows.

        A damaged shard is named in the log and, when the store is writable, dropped; its rows will be computed again.
        """
        if writable:
            clear_parts(self.folder)
        entries = read_manifest(self.folder)
        with ThreadPoolExecutor(2) as pool:
            faults = list(pool.map(lambda entry: shard_fault(self.folder, entry), entries))
        self._entries, self.shards, self.index = [], [], {}
        self.damaged = [entry.file for entry, fault in zip(entries, faults, strict=True) if fault]
        for entry, fault in zip(entries, faults, strict=True):
            if fault:
                log.warning(
                    "%s is damaged (%s): its %d rows are computed again", self.folder / entry.file, fault, entry.rows
                )
            else:
                self._adopt(entry)
        if writable:
            self._drop_strays()

    def _adopt(self, entry: ShardEntry) -> None:
        keys, rows = map_shard(self.folder / entry.file)
        number = len(self.shards)
        self.shards.append(rows)
        self._entries.append(entry)
        packed = keys.tobytes()
        self.index.update((packed[i * KEY_BYTES : (i + 1) * KEY_BYTES], Place(number, i)) for i in range(entry.rows))

    def _drop_strays(self) -> None:
        """Remove shards that no manifest lists: damaged ones, and those of a writer killed before it listed them."""
        listed = {entry.file for entry in self._entries}
        for path in self.folder.glob("shard-*.safetensors"):
            if path.name not in listed:
                path.unlink()

    def append(self, keys: Sequence[bytes], rows: Rows) -> None:
        """Write one shard, then list it; rows is (N, ...) in the spec's dtype. Call it under `locked`.

        Raises
        ------
        StorageError
            When the disk refuses; what was listed before stays whole.
        """
        from safetensors.numpy import save

        packed = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)
        used = [int(entry.file[6:11]) for entry in self._entries]
        path = self.folder / f"shard-{max(used, default=-1) + 1:05d}.safetensors"
        data = save({"keys": packed, "rows": rows})
        write_bytes(path, data, REMEDY)
        entry = ShardEntry(path.name, len(keys), len(data), digest_bytes(data))
        write_json(self.folder / "spec.json", self.spec.to_dict(), REMEDY)
        write_manifest(self.folder, [*self._entries, entry])
        self._adopt(entry)

    def mark_used(self) -> None:
        """Note the time of use for `frostline cache list` and `prune`; a read-only cache keeps its old time."""
        try:
            os.utime(self.folder / "manifest.json")
        except OSError as error:
            log.debug("no time of use noted: %s", error)


def write_manifest(folder: Path, entries: Sequence[ShardEntry]) -> None:
    """List the shards, with a checksum of the list itself."""
    shards = [asdict(entry) for entry in entries]
    write_json(folder / "manifest.json", {"shards": shards, "checksum": digest_json(shards)}, REMEDY)


def read_manifest(folder: Path) -> list[ShardEntry]:
    """Return the listed shards; none, with a warning, when the list is damaged.

    Raises
    ------
    StorageError
        When the folder is out of reach.
    """
    path = folder / "manifest.json"
    try:
        listed: Any = json.loads(path.read_text(encoding="utf-8"))
        if listed["checksum"] != digest_json(listed["shards"]):
            raise ValueError("its checksum is wrong")
        return [ShardEntry(**entry) for entry in listed["shards"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, path, REMEDY) from error
    except (ValueError, KeyError, TypeError) as error:
        log.warning("%s is damaged (%s): its rows are computed again", path, error)
        return []


def shard_fault(folder: Path, entry: ShardEntry) -> str:
    """Return what is wrong with a shard, read byte by byte; an empty string when it is whole."""
    path = folder / entry.file
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            return f"{size:,} bytes, expected {entry.bytes:,}"
        if digest_file(path) != entry.blake2b:
            return "its checksum is wrong"
    except FileNotFoundError:
        return "the file is missing"
    except OSError as error:
        return error.strerror or str(error)
    return ""


def map_shard(path: Path) -> tuple[NDArray[np.uint8], Rows]:
    """Map a verified shard: keys (N, 20) uint8 and rows (N, ...).

    Raises
    ------
    StorageError
        When the header is not one of ours.
    """
    foreign = StorageError(f"{path} is no shard of Frostline's: remove it.")
    kinds = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise foreign
            header = json.loads(file.read(length))

        def mapped(name: str) -> NDArray[Any]:
            about = header[name]
            start = 8 + length + about["data_offsets"][0]
            return np.memmap(path, kinds[about["dtype"]], "r", start, tuple(about["shape"]))

        return np.array(mapped("keys")), mapped("rows")
    except (ValueError, KeyError, TypeError) as error:
        raise foreign from error
