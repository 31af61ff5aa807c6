"""Where files live, and how they are written so that a killed program leaves none half-made."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from frostline.errors import storage_error


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


def clear_parts(folder: Path) -> None:
    """Remove what killed writers left in a folder. Call it only under the folder's lock."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
