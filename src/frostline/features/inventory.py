"""List, verify and prune the stores of the feature cache."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from frostline._utils.files import fault_of, parse_json, read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_CACHE, is_file_itself, is_part, lock_in
from frostline.errors import first_line, storage_error
from frostline.features.shard import MANIFEST, SHARD_NAME, ShardEntry, parse_manifest, read_shard

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


class _Foreign(Exception):  # noqa: N818  (not an error: it says why something is left alone)
    """A folder that Frostline did not create, as far as it can tell."""


@dataclass(frozen=True)
class _Store:
    facts: StoreFacts
    entries: list[ShardEntry]
    faults: list[str]


def list_stores(cache: Path) -> list[StoreFacts]:
    """Return every store, the most recently used first; damaged and foreign folders are logged."""
    stores = _stores(cache)
    for store in stores:
        for fault in store.faults:
            log.warning("%s", fault)
    return [store.facts for store in stores]


def _stores(cache: Path) -> list[_Store]:
    root = cache / "activations"
    try:
        paths = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise storage_error(error, root, OTHER_CACHE) from error
    stores, foreign = [], []
    for path in paths:
        try:
            with suppress(FileNotFoundError):  # another process removed it meanwhile
                stores.append(_inspect(path))
        except _Foreign as reason:
            foreign.append(f"{path.name} ({reason})")
        except OSError as error:
            foreign.append(f"{path.name} ({error.strerror or first_line(error)})")
    if foreign:
        more = f" and {len(foreign) - 5} more" if len(foreign) > 5 else ""
        log.warning("ignored in %s, not created by Frostline: %s%s", root, ", ".join(foreign[:5]), more)
    return sorted(stores, key=lambda store: -store.facts.last_used)


def _inspect(folder: Path) -> _Store:
    """Return the facts about a store.

    Raises
    ------
    _Foreign
        If it was not created by Frostline.
    OSError
    """
    if folder.is_symlink():
        raise _Foreign("a symbolic link")
    if not folder.is_dir() or not re.fullmatch("[0-9a-f]{32}", folder.name):
        raise _Foreign("not named like a store")
    files = {path.name: path.lstat() for path in _files(folder)}
    spec, faults, entries = _spec(folder), list[str](), list[ShardEntry]()
    try:
        entries = parse_manifest(read_bytes(folder / MANIFEST))
        known = True
    except FileNotFoundError:
        known = bool(spec) or all(path.name == "lock" or is_part(path.name) for path in folder.iterdir())
        if any(re.fullmatch(SHARD_NAME, name) for name in files):
            faults = [f"{folder / MANIFEST}: there is no list of the shards"]
    except (OSError, ValueError) as error:
        known = bool(spec)
        faults = [f"{folder / MANIFEST}: the list of shards is damaged ({fault_of(error)})"]
    if not known:
        raise _Foreign("no manifest")
    used = files[MANIFEST].st_mtime if MANIFEST in files else folder.stat().st_mtime
    size = sum(facts.st_size for facts in files.values())
    facts = StoreFacts(folder, spec, sum(entry.rows for entry in entries), len(entries), size, used)
    return _Store(facts, entries, faults)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files that Frostline wrote: regular files with the names that it uses."""
    for path in folder.iterdir():
        named = path.name in {MANIFEST, "spec.json", "lock"} or is_part(path.name)
        if (named or re.fullmatch(SHARD_NAME, path.name)) and is_file_itself(path):
            yield path


def _spec(folder: Path) -> dict[str, Any]:
    """Return how a store's rows were computed; nothing when its spec is missing, damaged or another store's."""
    try:
        spec = parse_json(read_bytes(folder / "spec.json"))
    except (OSError, ValueError):
        return {}  # a store whose first shard was never finished
    return spec if isinstance(spec, dict) and digest_json(spec) == folder.name else {}


def verify(cache: Path) -> list[tuple[StoreFacts, list[str]]]:
    """Read every shard of every store; return each store with the faults found."""
    return [(store.facts, [*store.faults, *_shard_faults(store)]) for store in _stores(cache)]


def _shard_faults(store: _Store) -> Iterator[str]:
    row_shape: tuple[int, ...] | None = None
    for entry in store.entries:
        shard = read_shard(store.facts.folder, entry, store.facts.spec.get("dtype"))
        fault = shard if isinstance(shard, str) else ""
        if not isinstance(shard, str):
            row_shape = row_shape or shard.rows.shape[1:]
            if shard.rows.shape[1:] != row_shape:
                fault = f"its rows have the shape {shard.rows.shape[1:]}, others {row_shape}"
        if fault:
            yield f"{store.facts.folder / entry.file}: {fault}"


def prune(
    cache: Path, *, older_than_days: float | None = None, everything: bool = False
) -> tuple[list[StoreFacts], int]:
    """Remove stores that were not used recently, except those in use.

    Only files that Frostline wrote are removed; a folder with other files stays.

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
    expired = [
        store
        for store in list_stores(cache)
        if everything or (older_than_days is not None and now - store.last_used > older_than_days * DAY)
    ]
    removed = [store for store in expired if _remove(store)]
    return removed, sum(store.bytes for store in removed)


def _remove(store: StoreFacts) -> bool:
    try:
        lock = lock_in(store.folder)
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("%s is in use: not removed", store.name)
        return False
    except OSError as error:
        raise storage_error(error, store.folder, OTHER_CACHE) from error
    try:
        # The manifest goes first: an interrupted removal leaves no store that lists missing rows.
        for path in sorted(_files(store.folder), key=lambda path: (path.name != MANIFEST, path.name == "lock")):
            path.unlink()
        left = sorted(path.name for path in store.folder.iterdir())
        if left:
            log.warning("%s stays: it holds %s, which Frostline did not create", store.folder, ", ".join(left[:5]))
        else:
            store.folder.rmdir()
    except OSError as error:
        raise storage_error(error, store.folder, OTHER_CACHE) from error
    finally:
        lock.release()
    return True


def total_bytes(stores: Sequence[StoreFacts]) -> int:
    """Return how much space stores take."""
    return sum(store.bytes for store in stores)
