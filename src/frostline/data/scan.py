"""One look at every image file: can it be read, which row is it, what does it look like.

What was seen is remembered in CACHE/scans/, one file per data set: a line that describes the second, which is

    {PATH: [device, inode, size, mtime_ns, ctime_ns, seen_ns, row id, difference hash, side, reason, tones], …}

A file is taken for the one that was seen when all its numbers agree and it had been at rest when they were read (git's
rule for its index): size and mtime alone stay the same when folders of equal times are swapped. Every other file is
read, and decoded only when its content was never seen.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import PIL
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from frostline._utils.device import cores
from frostline._utils.files import read_bytes
from frostline._utils.hashing import digest_bytes, row_id_of_bytes
from frostline._utils.progress import Bar, Progress, Silent
from frostline._utils.storage import alone_in, clear_parts, write_bytes
from frostline.data.decoding.decode import MAX_PIXELS, read_file
from frostline.data.decoding.decoder import look_at_each
from frostline.data.decoding.pool import Workers
from frostline.data.levels import Tones
from frostline.data.scan_file import ScannedFile

MADE = f"version 4, Pillow {PIL.__version__}"  # another decoder may read what this one refused
# A file that was changed so shortly before it was looked at may be changed again with no number showing it: clocks of
# file systems tick every 4 ms to 2 s.
REST_SECONDS = 2.5
MAX_MEMO_BYTES = 1 << 30

Stamp = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
Whole = Annotated[int, Field(strict=True)]
Entry = tuple[
    Whole, Whole, Whole, Whole, Whole, Whole,
    Annotated[str, Field(pattern="^[0-9a-f]{32}$")], Annotated[str, Field(pattern="^([0-9a-f]{16})?$")],
    Annotated[int, Field(strict=True, ge=0)], str | None, Tones,
]  # fmt: skip
ENTRIES = TypeAdapter(dict[str, Entry])


class _MemoRecord(BaseModel):
    made: str
    checksum: str


def scan(
    paths: Sequence[Path],
    root: Path,
    cache: Path,
    progress: Progress | None = None,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    rest_seconds: float = REST_SECONDS,
) -> list[ScannedFile]:
    """Look at every file that is new or may have been changed since the last time.

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
    rest_seconds : float
        How long a file must have been unchanged when it was looked at, to be known again by its numbers.

    Raises
    ------
    DataError
        When a process was killed.
    StorageError
        When the memo cannot be written.
    """
    memo = cache / "scans" / f"{digest_bytes(os.fsencode(root.resolve()))}.json"
    made = MADE if max_pixels == MAX_PIXELS else f"{MADE}, {max_pixels} pixels"
    known = _read_memo(memo, made)
    now = time.time_ns()
    keys, stamps = [_key(path) for path in paths], [_stamp(path) for path in paths]
    rest = int(rest_seconds * 1e9)
    seen = {
        key: known[key]
        for key, stamp in zip(keys, stamps, strict=True)
        if key in known and stamp is not None and _is_same(known[key], stamp, rest)
    }
    looks = [_from_entry(seen[key]) if key in seen else None for key in keys]
    unseen = [i for i, look in enumerate(looks) if look is None]

    def keep(i: int, look: ScannedFile) -> None:
        looks[i], stamp = look, stamps[i]
        if look.row_id and stamp is not None:
            seen[keys[i]] = (*stamp, now, look.row_id.hex(), look.look.hex(), look.side, look.reason, look.tones)

    try:
        with (progress or Silent()).bar("looking at the images", len(unseen), "images") as bar:
            for i, look in _looks_by_content(paths, unseen, known, workers or cores(), bar):
                keep(i, look)
            new = [i for i in unseen if looks[i] is None]
            with Workers(workers) as pool:
                for i, look in zip(new, look_at_each([paths[i] for i in new], pool, max_pixels), strict=True):
                    keep(i, look)
                    bar.advance(1)
    finally:  # what was seen before a Ctrl-C is kept too
        if seen != known:
            _write_memo(memo, made, seen)
    return [look for look in looks if look is not None]


def _looks_by_content(
    paths: Sequence[Path], unseen: Sequence[int], known: dict[str, Entry], workers: int, bar: Bar
) -> Iterator[tuple[int, ScannedFile]]:
    """Read the files that are not known by their numbers, and yield what was seen of a content that is known."""
    by_row = {bytes.fromhex(entry[6]): entry for entry in known.values()}
    if not by_row:
        return
    with ThreadPoolExecutor(workers) as threads:  # hashing and reading leave Python's lock alone
        for i, row_id in zip(unseen, threads.map(_row_id, [paths[i] for i in unseen]), strict=True):
            if row_id in by_row:
                yield i, _from_entry(by_row[row_id])
                bar.advance(1)


def _row_id(path: Path) -> bytes:
    """Return the row id of a file's content; nothing when it cannot be read, as a look at it says again."""
    try:
        return row_id_of_bytes(read_file(path))
    except OSError:
        return b""


def _key(path: Path) -> str:
    return os.fspath(path.absolute()).encode(errors="backslashreplace").decode()  # a name may be no UTF-8


def _stamp(path: Path) -> Stamp | None:
    """Return the numbers by which a file is known."""
    try:
        facts = path.stat()
    except (OSError, ValueError):
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _is_same(entry: Entry, stamp: Stamp, rest: int) -> bool:
    """Whether a file is the one that was seen, and would show it if it had been changed since."""
    *_, changed = stamp
    meaningful = stamp[1] != 0 and os.name != "nt"  # Windows: ctime is the time of creation
    return meaningful and entry[:5] == stamp and changed + rest <= entry[5]


def _from_entry(entry: Entry) -> ScannedFile:
    return ScannedFile(bytes.fromhex(entry[6]), bytes.fromhex(entry[7]), *entry[8:])


def _write_memo(path: Path, made: str, seen: dict[str, Entry]) -> None:
    body = json.dumps(seen, ensure_ascii=False, separators=(",", ":")).encode()
    description = json.dumps({"made": made, "checksum": digest_bytes(body)}).encode()
    with alone_in(path.parent, "--cache-dir") as alone:
        if alone:
            clear_parts(path.parent)
        write_bytes(path, description + b"\n" + body, "--cache-dir")


def _read_memo(path: Path, made: str) -> dict[str, Entry]:
    """Return what was seen before; nothing when the memo is missing, damaged or of another version."""
    try:
        first, _, body = read_bytes(path, MAX_MEMO_BYTES).partition(b"\n")
        said = _MemoRecord.model_validate_json(first)
        whole = said.made == made and said.checksum == digest_bytes(body)
        return ENTRIES.validate_json(body) if whole else {}
    except (OSError, ValidationError):
        return {}
