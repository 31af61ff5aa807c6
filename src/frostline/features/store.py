"""The feature cache on disk: one store for each way of computing, rows in shards with checksums.

    activations/<spec digest>/
      spec.json                 how the rows were computed
      manifest.json             the shards: file, rows, bytes, BLAKE2b; and a checksum of this list
      shard-00000.safetensors   "keys" uint8 (N, 20): row id and view; "rows" (N, ...): features
      lock                      held while rows are added

`docs/cache-format.md` specifies the bytes. A shard is listed only after it is whole on disk.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout
from torch import fx

from frostline._utils.hashing import digest_bytes, digest_json
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_CACHE, clear_parts, is_file_itself, lock_in, write_bytes, write_json
from frostline.data.preprocess import Preprocess
from frostline.errors import StorageError, first_line
from frostline.features.shard import (
    KEY_BYTES,
    MANIFEST,
    SHARD_NAME,
    VIEW_BYTES,
    Rows,
    Shard,
    ShardEntry,
    read_manifest,
    read_shard,
    shard_name,
    shard_number,
    write_manifest,
)
from frostline.models.boundary import TAP_GRID, Frozen
from frostline.models.registry import weights_digest

FORMAT_VERSION = 1


@dataclass(frozen=True)
class FeatureKey:
    """Identifies how features are computed. If any field differs, so does the store.

    Parameters
    ----------
    network, freeze, taps, tap_grid
        Which stages run and which of their outputs are kept; a network that is not ours has a digest of its layers too.
    weights : str
        SHA-256 over the frozen stages' tensors.
    preprocess : dict
        `Preprocess.to_dict`.
    dtype : str
        ``float16`` or ``float32``: precision on disk.
    augment : dict, optional
        What views but the image itself depend on, seed included (`View.to_dict`).
    format : int
        Version of the files' layout.
    """

    network: str
    freeze: str
    taps: tuple[str, ...]
    tap_grid: int
    weights: str
    preprocess: dict[str, Any]
    dtype: str
    augment: dict[str, Any] | None = None
    format: int = FORMAT_VERSION

    @cached_property
    def digest(self) -> str:
        """32 hex digits: the store's folder name."""
        return digest_json(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return {**asdict(self), "taps": list(self.taps)}


def feature_key(network: str, frozen: Frozen, preprocess: Preprocess, dtype: str) -> FeatureKey:
    """Return the key of frozen stages and their preprocessing."""
    boundary = frozen.boundary
    return FeatureKey(
        network=network + _layers(frozen),
        freeze=boundary.freeze,
        taps=frozen.row_stages,
        tap_grid=TAP_GRID if frozen.row_stages else 0,
        weights=weights_digest(frozen),
        preprocess=preprocess.to_dict(),
        dtype=dtype,
    )


def _layers(frozen: Frozen) -> str:
    """Return a digest of an external network's layers: strides and kinds, which name and weights do not include."""
    stages = frozen.stages.values()
    if not any(isinstance(stage, fx.GraphModule) for stage in stages):
        return ""
    return "@" + digest_json([[repr(stage), stage.code] for stage in stages])[:8]


def row_key(row_id: bytes, view: int = 0) -> bytes:
    """Return the 20-byte key of one view of one image."""
    return row_id + view.to_bytes(VIEW_BYTES, "little")


@dataclass(frozen=True)
class Place:
    """The location of a row."""

    shard: int
    row: int


class Store:
    """The rows of one way of computing.

    Parameters
    ----------
    cache : Path
        Frostline's cache folder.
    spec : FeatureKey
        Names the store.
    """

    def __init__(self, cache: Path, spec: FeatureKey) -> None:
        self.spec = spec
        self.folder = cache / "activations" / spec.digest
        self.shards: list[Rows] = []  # memory-mapped
        self.index: dict[bytes, Place] = {}
        self.damaged: list[str] = []  # shards that the last load reported and skipped
        self.read_only = ""  # why the store cannot be written
        self._entries: list[ShardEntry] = []

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Lock the store; yields whether it may be written.

        Waits for another process that writes it. A cache that cannot be written is still read, and so is a store that
        is a symbolic link: nothing is written or removed through it.
        """
        if self.folder.is_symlink():
            self.read_only = f"{self.folder} is a symbolic link, which nothing is written through"
            yield False
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = lock_in(self.folder)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                log.info("waiting for another process that computes the same features")
                lock.acquire(poll_interval=0.1)
        except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
            self.read_only = first_line(error)
            log.debug("the cache at %s is read-only: %s", self.folder, error)
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def load(self, *, writable: bool, row_shape: Callable[[], tuple[int, ...]] | None = None) -> None:
        """Read the manifest, verify every shard, and index the rows.

        A damaged shard is named in the log and, when the store is writable, dropped; its rows will be computed again.

        Parameters
        ----------
        writable : bool
            What `locked` yielded.
        row_shape : callable, optional
            Returns the shape that every row must have; asked only when there are shards. That of the first whole shard
            when left out.
        """
        if writable:
            clear_parts(self.folder)
        entries = read_manifest(self.folder)
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda entry: read_shard(self.folder, entry, self.spec.dtype), entries))
        self._entries, self.shards, self.index, self.damaged = [], [], {}, []
        expected = row_shape() if row_shape is not None and entries else None
        for entry, shard in zip(entries, found, strict=True):
            fault = shard if isinstance(shard, str) else self._misfit(shard, expected)
            if fault or isinstance(shard, str):
                self.damaged.append(entry.file)
                log.warning(
                    "%s is damaged (%s): its %d rows are computed again", self.folder / entry.file, fault, entry.rows
                )
            else:
                self._adopt(entry, shard)
        if writable:
            self._drop_strays()

    def _misfit(self, shard: Shard, expected: tuple[int, ...] | None) -> str:
        """Return why a shard does not fit the others, or an empty string."""
        if expected is None and self.shards:
            expected = self.shards[0].shape[1:]
        if expected is not None and shard.rows.shape[1:] != expected:
            return f"its rows have the shape {shard.rows.shape[1:]}, expected {expected}"
        if len(set(shard.keys)) != len(shard.keys) or any(key in self.index for key in shard.keys):
            return "it holds a row twice"
        return ""

    def _adopt(self, entry: ShardEntry, shard: Shard) -> None:
        number = len(self.shards)
        self.shards.append(shard.rows)
        self._entries.append(entry)
        self.index.update((key, Place(number, row)) for row, key in enumerate(shard.keys))

    def _drop_strays(self) -> None:
        """Remove shards that no manifest lists: damaged ones, and those of a writer killed before it listed them."""
        listed = {entry.file for entry in self._entries}
        for path in self.folder.iterdir():
            if re.fullmatch(SHARD_NAME, path.name) and path.name not in listed and is_file_itself(path):
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
        path = self.folder / shard_name(self._next_number())
        data = save({"keys": packed, "rows": rows})
        write_json(self.folder / "spec.json", self.spec.to_dict(), OTHER_CACHE)
        if not self._entries:  # a writer that is killed leaves a shard that is not listed, never one without a list
            write_manifest(self.folder, [])
        write_bytes(path, data, OTHER_CACHE)
        entry = ShardEntry(file=path.name, rows=len(keys), bytes=len(data), blake2b=digest_bytes(data))
        write_manifest(self.folder, [*self._entries, entry])
        shard = read_shard(self.folder, entry, self.spec.dtype, written=True)
        if isinstance(shard, str):
            raise StorageError(f"{path} is not what was written a moment ago ({shard}): check the disk.")
        self._adopt(entry, shard)

    def _next_number(self) -> int:
        """Return a number that no shard has, nor anything that is called like one."""
        there = {entry.file for entry in self._entries} | {path.name for path in self.folder.iterdir()}
        return max((shard_number(name) for name in there if re.fullmatch(SHARD_NAME, name)), default=-1) + 1

    def mark_used(self) -> None:
        """Record the time of use for `frostline cache list` and `prune`, unless the cache is read-only."""
        try:
            os.utime(self.folder / MANIFEST)
        except OSError as error:
            log.debug("time of use not recorded: %s", error)
