"""``manifest.json``: marks a folder that Frostline created, and lists its files with BLAKE2b digests.

It is written when the folder is created, again when the files exist that a resumed process needs, and finally when all
files exist (``complete``). It lists the files that are read later; readers verify them.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from frostline import __version__
from frostline._utils.files import MAX_TENSOR_FILE_BYTES, MAX_TEXT_BYTES, open_file, parse_json, read_bytes, reading
from frostline._utils.hashing import digest_bytes, digest_json, digest_open_file
from frostline._utils.storage import write_json
from frostline.errors import RunError, storage_error

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 << 20

Kind = Literal["run", "bundle", "search", "curve", "audit", "explanation"]


def _plain_name(name: str) -> str:
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable() or "\\" in name:
        raise ValueError(f"{name!r} is not the name of a file inside the folder")
    return name


FileName = Annotated[str, StringConstraints(max_length=200), AfterValidator(_plain_name)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class _Record(BaseModel):
    """Schema of ``manifest.json``; ``checksum`` is a digest of the other entries."""

    model_config = ConfigDict(strict=True)  # later versions may add entries

    format: int
    kind: Kind
    frostline: str
    complete: bool
    files: dict[FileName, Digest]
    checksum: Digest


@dataclass(frozen=True)
class Manifest:
    """The manifest of a folder.

    Attributes
    ----------
    folder : Path
    kind : str
        One of `Kind`.
    complete : bool
        Whether every file was written.
    files : mapping of str to str
        Digests by relative name.
    remedy : str
        What the user can do if a file is damaged.
    """

    folder: Path
    kind: str
    complete: bool
    files: Mapping[str, str] = field(default_factory=dict)
    remedy: str = "make the folder again"

    def read(self, name: str, most: int = MAX_TEXT_BYTES) -> bytes:
        """Return the content of a file; until the folder is complete, unlisted files are not verified.

        Raises
        ------
        RunError
            If it is missing, not a regular file, larger than ``most``, or not the file that Frostline wrote.
        """
        path = self.folder / name
        with reading(path, RunError, self.remedy):
            data = read_bytes(path, most)
        self._compare(name, digest_bytes(data))
        return data

    def check(self, name: str, most: int = MAX_TENSOR_FILE_BYTES) -> str:
        """Check a large file without loading it, and return its digest; raises as `read` does."""
        path = self.folder / name
        with reading(path, RunError, self.remedy), open_file(path, most) as file:
            digest = digest_open_file(file)
        self._compare(name, digest)
        return digest

    def _compare(self, name: str, digest: str) -> None:
        expected = self.files.get(name)
        if expected == digest or (expected is None and not self.complete):
            return
        fault = "its checksum is wrong" if expected else f"{MANIFEST} does not list it"
        raise RunError(f"{self.folder / name} is not the file that Frostline wrote ({fault}): {self.remedy}.")


def read_manifest(folder: Path, remedy: str = Manifest.remedy) -> Manifest | None:
    """Return a folder's manifest, or ``None`` for a foreign folder or one of an earlier version.

    Raises
    ------
    RunError
        If it is unreadable, damaged or of a later version.
    """
    path = folder / MANIFEST
    if not os.path.lexists(path):
        return None
    with reading(path, RunError, remedy):
        value = parse_json(read_bytes(path, MAX_MANIFEST_BYTES))
        record = _Record.model_validate(value)
        if record.format != FORMAT_VERSION:
            raise RunError(f"{path} has format {record.format}, this version reads {FORMAT_VERSION}: update frostline.")
        if record.checksum != _checksum(value):
            raise ValueError("its checksum is wrong")
    return Manifest(folder, record.kind, record.complete, record.files, remedy)


def write_manifest(
    folder: Path,
    kind: Kind,
    names: Iterable[str] = (),
    *,
    complete: bool = False,
    known: Mapping[str, str] | None = None,
    remedy: str = "",
) -> None:
    """Write a folder's manifest, listing those of the named files that exist.

    Files with a digest in ``known``, e.g. from the previous manifest, are not read again, so that changes in between
    are detected.

    Raises
    ------
    StorageError
        With ``remedy``, the option that chooses another place.
    """
    known = known or {}
    files = {name: known.get(name) or _digest(folder / name, remedy) for name in sorted({*names})}
    value: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "kind": kind,
        "frostline": __version__,
        "complete": complete,
        "files": {name: digest for name, digest in files.items() if digest},
    }
    write_json(folder / MANIFEST, value | {"checksum": _checksum(value)}, remedy)


def _digest(path: Path, remedy: str) -> str | None:
    try:
        with open_file(path, MAX_TENSOR_FILE_BYTES) as file:
            return digest_open_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(error, path, remedy) from error


def _checksum(value: Mapping[str, Any]) -> str:
    return digest_json({name: entry for name, entry in value.items() if name != "checksum"})
