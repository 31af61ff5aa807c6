"""One look at every picture file: can it be read, which row is it, what does it look like.

What was seen is remembered by path, size and time of change in CACHE/scans/, one file per data set:

    {"made": …, "checksum": …, "files": {PATH: [size, mtime_ns, row id, difference hash, side, reason, tones], …}}
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL

from frostline.hashing import digest_bytes, digest_json
from frostline.images.decode import MAX_PIXELS
from frostline.images.decoders import look_at_each
from frostline.images.levels import Tones
from frostline.images.look import Look
from frostline.images.workers import Workers
from frostline.progress import Progress, Silent
from frostline.storage import write_json

MADE = f"version 3, Pillow {PIL.__version__}"  # another decoder may read what this one refused


def scan(
    paths: Sequence[Path],
    root: Path,
    cache: Path,
    progress: Progress | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> list[Look]:
    """Look at every file that is new or was changed since the last time.

    Parameters
    ----------
    paths : sequence of Path
    root : Path
        Folder or table that they come from: what was seen is remembered under its name.
    cache : Path
        Frostline's cache.
    progress : Progress, optional
    workers : int, optional
        Processes; all cores when left out.
    max_pixels : int
        What a file may claim to have.

    Raises
    ------
    DataError
        When no process can be started.
    StorageError
        When the memo cannot be written.
    """
    memo = cache / "scans" / f"{digest_bytes(os.fsencode(root.resolve()))}.json"
    made = MADE if max_pixels == MAX_PIXELS else f"{MADE}, {max_pixels} pixels"
    known = _read_memo(memo, made)
    keys, stamps = [_key(path) for path in paths], [_stamp(path) for path in paths]
    seen = {
        key: known[key] for key, stamp in zip(keys, stamps, strict=True) if key in known and known[key][:2] == stamp
    }
    looks = [_from_entry(seen[key]) if key in seen else None for key in keys]
    unseen = [i for i, look in enumerate(looks) if look is None]
    try:
        with (
            (progress or Silent()).bar("looking at the pictures", len(unseen), "images") as bar,
            Workers(workers) as pool,
        ):
            for i, look in zip(unseen, look_at_each([paths[i] for i in unseen], pool, max_pixels), strict=True):
                looks[i] = look
                stamp = stamps[i]
                if look.row_id and stamp is not None:
                    seen[keys[i]] = [*stamp, look.row_id.hex(), look.look.hex(), look.side, look.reason, look.tones]
                bar.advance(1)
    finally:  # what was seen before a Ctrl-C is kept too
        if seen != known:
            write_json(memo, {"made": made, "checksum": digest_json(seen), "files": seen}, "--cache-dir")
    return [look for look in looks if look is not None]


def _key(path: Path) -> str:
    return str(path.absolute()).encode(errors="backslashreplace").decode()  # a name may be no UTF-8


def _stamp(path: Path) -> list[int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _from_entry(entry: list[Any]) -> Look:
    *_, row_id, look, side, reason, tones = entry
    return Look(bytes.fromhex(row_id), bytes.fromhex(look), side, reason, Tones(*tones))


def _read_memo(path: Path, made: str) -> dict[str, list[Any]]:
    """Return what was seen before; nothing when the memo is missing, damaged or of another version."""
    try:
        memo = json.loads(path.read_bytes())
        whole = memo["made"] == made and memo["checksum"] == digest_json(memo["files"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return dict(memo["files"]) if whole else {}
