"""What the cache holds: list it, read every byte of it, give space back."""

import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from frostline.activations.store import REMEDY, read_manifest, shard_fault
from frostline.errors import storage_error
from frostline.hashing import digest_json
from frostline.progress import log

DAY = 86_400.0


@dataclass(frozen=True)
class StoreFacts:
    """One store as `frostline cache list` shows it."""

    folder: Path
    spec: dict[str, Any]
    rows: int
    shards: int
    bytes: int
    last_used: float

    @property
    def name(self) -> str:
        """The first 12 digits of its digest."""
        return self.folder.name[:12]


def list_stores(cache: Path) -> list[StoreFacts]:
    """Return every store, the most recently used first."""
    root = cache / "activations"
    try:
        folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    except OSError as error:
        raise storage_error(error, root, REMEDY) from error
    stores = []
    for folder in folders:
        with suppress(FileNotFoundError):  # another process removed it meanwhile
            stores.append(_facts(folder))
    return sorted(stores, key=lambda store: -store.last_used)


def _facts(folder: Path) -> StoreFacts:
    entries = read_manifest(folder)
    manifest = folder / "manifest.json"
    try:
        spec = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        spec = None  # a store whose first shard was never finished
    if digest_json(spec) != folder.name:
        spec = {}
    size = sum(map(_bytes, folder.iterdir()))
    used = manifest.stat().st_mtime if manifest.is_file() else folder.stat().st_mtime
    return StoreFacts(folder, spec, sum(entry.rows for entry in entries), len(entries), size, used)


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # its writer renamed it meanwhile
        return 0


def verify(cache: Path) -> list[tuple[StoreFacts, list[str]]]:
    """Read every shard of every store; return each store with the faults found."""
    report = []
    for store in list_stores(cache):
        entries = read_manifest(store.folder)
        faults = [
            f"{store.folder / entry.file}: {fault}" for entry in entries if (fault := shard_fault(store.folder, entry))
        ]
        if (store.folder / "manifest.json").is_file() and not entries:
            faults.append(f"{store.folder / 'manifest.json'}: the list of shards is damaged")
        report.append((store, faults))
    return report


def prune(
    cache: Path, *, older_than_days: float | None = None, everything: bool = False
) -> tuple[list[StoreFacts], int]:
    """Remove stores that were not used lately; ones that a process is filling stay.

    Parameters
    ----------
    cache : Path
        Frostline's cache folder.
    older_than_days : float, optional
        Remove what was last used longer ago.
    everything : bool
        Remove every store.

    Returns
    -------
    removed, freed : list of StoreFacts, int
        What went, and how many bytes.
    """
    now = time.time()
    doomed = [
        store
        for store in list_stores(cache)
        if everything or (older_than_days is not None and now - store.last_used > older_than_days * DAY)
    ]
    removed = [store for store in doomed if _remove(store)]
    return removed, sum(store.bytes for store in removed)


def _remove(store: StoreFacts) -> bool:
    lock = FileLock(store.folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s is in use and stays", store.name)
        return False
    except OSError as error:
        raise storage_error(error, store.folder, REMEDY) from error
    try:
        # The list goes first: killed half-way, what is left is no store that claims rows it lost.
        (store.folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(store.folder)
    except OSError as error:
        raise storage_error(error, store.folder, REMEDY) from error
    finally:
        lock.release()
    return True


def total_bytes(stores: Sequence[StoreFacts]) -> int:
    """Return how much space stores take."""
    return sum(store.bytes for store in stores)
