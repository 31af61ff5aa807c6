"""The cache folder, atomic writing of files, and file locks."""

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, StorageError, storage_error

if TYPE_CHECKING:  # slow to import
    from filelock import FileLock


# Remedies in storage errors: the option that chooses another place.
OTHER_OUTPUT = "--output chooses another place"
OTHER_OUTPUT_DIR = "--output-dir chooses another place"
OTHER_CACHE = "--cache-dir chooses another cache"


def cache_dir(chosen: Path | str | None = None) -> Path:
    """Return the cache folder: the one chosen, else ``FROSTLINE_CACHE_DIR``, else the platform's default."""
    place = chosen or os.environ.get("FROSTLINE_CACHE_DIR")
    if place:
        return Path(place).expanduser()
    from platformdirs import user_cache_path  # a prediction needs no cache

    return user_cache_path("frostline", appauthor=False)


@contextmanager
def replacing(path: Path, remedy: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it to ``path``, else remove it.

    The folder is created if it is missing.

    Raises
    ------
    StorageError
        If the disk is full, read-only or unavailable, with ``remedy``; an existing file at ``path`` is not modified.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            beside.replace(path)
            _sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path, remedy) from error


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # folders cannot be opened elsewhere
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes | memoryview, remedy: str = "") -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path, remedy) as beside:
        beside.write_bytes(data)


def write_json(path: Path, value: Any, remedy: str = "") -> None:
    """Write JSON atomically, see `replacing`, with keys in their order: it is the order of the classes."""
    write_bytes(path, (json_text(value) + "\n").encode(errors="backslashreplace"), remedy)


def json_text(value: Any, indent: str = "") -> str:
    """Return readable JSON: indented, but with lists of numbers on one line.

    The confusion matrix of 1,200 classes, a line per row, has 3 MB instead of 16.
    """
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [
            f"{inner}{_dumped(key if isinstance(key, str) else _dumped(key))}: {json_text(item, inner)}"
            for key, item in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple | str) for item in value):
        return "[\n" + ",\n".join(inner + json_text(item, inner) for item in value) + f"\n{indent}]"
    return _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check_output(path: Path, *, overwrite: bool, option: str = "--output") -> None:
    """Check, before any work is done, that the file given by ``option`` may be written.

    Raises
    ------
    ConfigError
        If the path cannot name a file.
    StorageError
        If it exists without ``overwrite``, or is not a regular file.
    """
    if not path.name or "\0" in str(path):
        raise ConfigError(f"{option} {str(path)!r}: expected the name of a file.")
    if not os.path.lexists(path):
        return
    if path.is_dir() or not (path.is_symlink() or is_file_itself(path)):
        raise StorageError(f"{path} is a folder or no regular file: {option} chooses another place.")
    if not overwrite:
        raise StorageError(f"{path} exists: --overwrite replaces it, or {option} chooses another place.")


def is_file_itself(path: Path) -> bool:
    """Whether a path is a regular file, not a link to one, and so may be removed."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def lock_in(folder: Path) -> "FileLock":
    """Return the lock of a folder, not yet acquired.

    Raises
    ------
    OSError
        If ``lock`` exists and is not a regular file: the target of a link would be opened or created.
    """
    from filelock import FileLock

    path = folder / "lock"
    if path.is_symlink() or (path.exists() and not is_file_itself(path)):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return FileLock(path)


@contextmanager
def alone_in(folder: Path, remedy: str = "") -> Iterator[bool]:
    """Hold the lock of a folder, which is created; yield False on a file system without locks.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_in(folder)
        lock.acquire()
    except NotImplementedError:
        yield False
        return
    except OSError as error:
        raise storage_error(error, folder, remedy) from error
    try:
        yield True
    finally:
        lock.release()


_PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part", re.DOTALL)


def part_of(name: str) -> str | None:
    """Return the name of the file that a temporary file of `replacing` belongs to; ``None`` for other files."""
    match = _PART.fullmatch(name)
    return match and match[1]


def is_part(name: str) -> bool:
    """Whether a name is that of a temporary file of `replacing`."""
    return part_of(name) is not None


def clear_parts(folder: Path) -> None:
    """Remove temporary files that killed writers left in a folder. Call it under the folder's lock."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if is_part(path.name) and is_file_itself(path):
            path.unlink(missing_ok=True)
