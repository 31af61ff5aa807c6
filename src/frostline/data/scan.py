"""Scan image files: whether each can be read, its row id, its difference hash.

Results are stored in CACHE/scans/, one file per data set: a line that describes the second, which is

    {PATH: [device, inode, size, mtime_ns, ctime_ns, scanned_ns, row id, difference hash, side, reason, tones], …}

A file counts as unchanged when all its numbers agree and it had not been modified shortly before they were read (git's
rule for its index): size and mtime alone stay the same when folders of equal times are swapped. Every other file is
read, and decoded only when its content is new.
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

from frostline._utils.files import read_bytes
from frostline._utils.hashing import digest_bytes, row_id_of_bytes
from frostline._utils.machine import cores
from frostline._utils.progress import Bar, Progress, Silent
from frostline._utils.storage import alone_in, clear_parts, write_bytes
from frostline.data.decoding.decode import MAX_PIXELS, read_file
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.decoding.decoder import scan_files
from frostline.data.decoding.pool import Workers
from frostline.data.levels import Tones
from frostline.data.scan_file import ScannedFile

VERSION = f"version 4, Pillow {PIL.__version__}"  # another Pillow may read what this one refused
# A file modified less than this before the scan may be modified again with the same time stamps: the clocks of file
# systems tick every 4 ms to 2 s.
REST_SECONDS = 2.5
MAX_MEMO_BYTES = 1 << 30

Stamp = tuple[int, int, int, int, int]  # device, inode, size, mtime_ns, ctime_ns
StrictInt = Annotated[int, Field(strict=True)]
Entry = tuple[
    StrictInt, StrictInt, StrictInt, StrictInt, StrictInt, StrictInt,
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
    decoded: DecodedImages | None = None,
) -> list[ScannedFile]:
    """Scan every file that is new or may have changed since the last scan.

    Parameters
    ----------
    root : Path
        Folder or table that the paths come from; results are stored under its name.
    rest_seconds : float
        How long before the scan a file must have been last modified for its result to be stored for good.
    decoded : DecodedImages, optional
        Receives the squares of large files.

    Raises
    ------
    DataError
        When a process was killed.
    StorageError
        When the results cannot be written.
    """
    memo = cache / "scans" / f"{digest_bytes(os.fsencode(root.resolve()))}.json"
    version = VERSION if max_pixels == MAX_PIXELS else f"{VERSION}, {max_pixels} pixels"
    known = _read_memo(memo, version)
    now, rest = time.time_ns(), int(rest_seconds * 1e9)
    keys, stamps = [_key(path) for path in paths], [_stamp(path) for path in paths]
    entries = {
        key: known[key]
        for key, stamp in zip(keys, stamps, strict=True)
        if key in known and stamp is not None and _is_unchanged(known[key], stamp, rest)
    }
    files = [_from_entry(entries[key]) if key in entries else None for key in keys]
    pending = [i for i, file in enumerate(files) if file is None]

    def store(i: int, file: ScannedFile) -> None:
        files[i], stamp = file, stamps[i]
        if file.row_id and stamp is not None:
            digests = file.row_id.hex(), file.difference_hash.hex()
            entries[keys[i]] = (*stamp, now, *digests, file.side, file.reason, file.tones)

    try:
        with (progress or Silent()).bar("scanning images", len(pending), "images") as bar:
            for i, file in _known_by_content(paths, pending, known, workers or cores(), bar):
                store(i, file)
            new = [i for i in pending if files[i] is None]
            keep = None if decoded is None else decoded.target
            with Workers(workers) as pool:
                found = scan_files([paths[i] for i in new], pool, max_pixels, keep)
                for i, (file, square) in zip(new, found, strict=True):
                    store(i, file)
                    if decoded is not None and square is not None:
                        decoded.add(file.row_id, square)
                    bar.advance(1)
    finally:  # an interrupted scan stores its results, too
        if entries != known:
            _write_memo(memo, version, entries)
    return [file for file in files if file is not None]


def _known_by_content(
    paths: Sequence[Path], pending: Sequence[int], known: dict[str, Entry], workers: int, bar: Bar
) -> Iterator[tuple[int, ScannedFile]]:
    """Hash the pending files, and yield the stored results of those whose content is known."""
    by_row = {bytes.fromhex(entry[6]): entry for entry in known.values()}
    if not by_row:
        return
    with ThreadPoolExecutor(workers) as threads:  # hashing and reading release the GIL
        for i, row_id in zip(pending, threads.map(_row_id, [paths[i] for i in pending]), strict=True):
            if row_id in by_row:
                yield i, _from_entry(by_row[row_id])
                bar.advance(1)


def _row_id(path: Path) -> bytes:
    """Return the row id of a file's content; empty when it cannot be read, which the scan reports."""
    try:
        return row_id_of_bytes(read_file(path))
    except OSError:
        return b""


def _key(path: Path) -> str:
    return os.fspath(path.absolute()).encode(errors="backslashreplace").decode()  # a name may not be UTF-8


def _stamp(path: Path) -> Stamp | None:
    """Return the numbers that identify a file's state."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _is_unchanged(entry: Entry, stamp: Stamp, rest: int) -> bool:
    """Whether a file is the one that was scanned, and its stamp would differ had it been modified since."""
    *_, changed = stamp
    meaningful = stamp[1] != 0 and os.name != "nt"  # Windows: ctime is the time of creation
    return meaningful and entry[:5] == stamp and changed + rest <= entry[5]


def _from_entry(entry: Entry) -> ScannedFile:
    return ScannedFile(bytes.fromhex(entry[6]), bytes.fromhex(entry[7]), *entry[8:])


def _write_memo(path: Path, version: str, entries: dict[str, Entry]) -> None:
    body = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    description = json.dumps({"made": version, "checksum": digest_bytes(body)}).encode()
    with alone_in(path.parent, "--cache-dir") as alone:
        if alone:
            clear_parts(path.parent)
        write_bytes(path, description + b"\n" + body, "--cache-dir")


def _read_memo(path: Path, version: str) -> dict[str, Entry]:
    """Return the stored results; none when the file is missing, damaged or of another version."""
    try:
        first, _, body = read_bytes(path, MAX_MEMO_BYTES).partition(b"\n")
        record = _MemoRecord.model_validate_json(first)
        is_valid = record.made == version and record.checksum == digest_bytes(body)
        return ENTRIES.validate_json(body) if is_valid else {}
    except (OSError, ValidationError):
        return {}
