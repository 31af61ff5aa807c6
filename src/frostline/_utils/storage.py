"""Where files live, and how they are written so that a killed program leaves none half-made."""

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

from platformdirs import user_cache_path

from frostline.errors import ConfigError, StorageError, storage_error

if TYPE_CHECKING:  # it takes as long to import as all the rest
    from filelock import FileLock


# Remedies that `storage_error` names: the option that chooses another place, or begins again there.
OTHER_OUTPUT = "--output chooses another place"
OTHER_OUTPUT_DIR = "--output-dir chooses another place"
OTHER_CACHE = "--cache-dir chooses another cache"
BEGIN_AGAIN = "--overwrite begins again"


def cache_dir(chosen: Path | str | None = None) -> Path:
    """Return the cache folder: the one chosen, else ``FROSTLINE_CACHE_DIR``, else the platform's own."""
    place = chosen or os.environ.get("FROSTLINE_CACHE_DIR")
    return Path(place).expanduser() if place else user_cache_path("frostline", appauthor=False)


@contextmanager
def replacing(path: Path, remedy: str = "") -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success sync it and rename it into place, else remove it.

    Parameters
    ----------
    path : Path
        The file to write or replace. Its folder is made.
    remedy : str
        The option that chooses another place; named when the disk refuses.

    Raises
    ------
    StorageError
        When the disk is full, read-only or out of reach; an older file at ``path`` stays whole.
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
    if os.name != "posix":  # other systems do not open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes | memoryview, remedy: str = "") -> None:
    """Write a whole file or leave the old one; see `replacing`."""
    with replacing(path, remedy) as beside:
        beside.write_bytes(data)


def write_json(path: Path, value: Any, remedy: str = "") -> None:
    """Write JSON, whole or not at all; see `replacing`. The order of keys is kept: it is the order of the classes."""
    write_bytes(path, (json_text(value) + "\n").encode(errors="backslashreplace"), remedy)


def json_text(value: Any, indent: str = "") -> str:
    """Return JSON to be read by people, too: indented, but a list of numbers on one line.

    A matrix has a line for each row: the confusion of 1,200 classes is 3 MB instead of 16.
    """
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [
            f"{inner}{_dumped(key if isinstance(key, str) else _dumped(key))}: {json_text(one, inner)}"
            for key, one in value.items()
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, dict | list | tuple | str) for one in value):
        return "[\n" + ",\n".join(inner + json_text(one, inner) for one in value) + f"\n{indent}]"
    return _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def check_output(path: Path, *, overwrite: bool, option: str = "--output") -> None:
    """Refuse to write to a file that an option names: one rule for all of them, asked before any work is done.

    Parameters
    ----------
    path : Path
        What was there before stays unless it is a file and ``overwrite`` is given.
    overwrite : bool
    option : str
        What chooses another place.

    Raises
    ------
    ConfigError
        When the path cannot name a file.
    StorageError
        When something is there.
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
    """Whether a path is a regular file and no link to one: what may be removed by its name."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def lock_in(folder: Path) -> "FileLock":
    """Return the lock of a folder, not yet held.

    Raises
    ------
    OSError
        When ``lock`` is there and is no file of its own: a link would be opened, and made, where it points to.
    """
    from filelock import FileLock

    path = folder / "lock"
    if path.is_symlink() or (path.exists() and not is_file_itself(path)):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return FileLock(path)


@contextmanager
def alone_in(folder: Path, remedy: str = "") -> Iterator[bool]:
    """Hold a folder's lock, waiting for a process that has it; the folder is made. Yields whether there are locks here.

    Raises
    ------
    StorageError
        When the folder cannot be written; ``remedy`` names what chooses another.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_in(folder)
        lock.acquire()
    except NotImplementedError:  # a file system without locks
        yield False
        return
    except OSError as error:
        raise storage_error(error, folder, remedy) from error
    try:
        yield True
    finally:
        lock.release()


_PART = re.compile(r"\..+\.[0-9a-f]{8}\.part", re.DOTALL)


def is_part(name: str) -> bool:
    """Whether a file is called as `replacing` calls what it has not finished."""
    return _PART.fullmatch(name) is not None


def clear_parts(folder: Path) -> None:
    """Remove what killed writers left in a folder. Call it only under the folder's lock."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if is_part(path.name) and is_file_itself(path):
            path.unlink(missing_ok=True)
