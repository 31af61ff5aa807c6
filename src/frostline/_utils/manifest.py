"""The folders that Frostline makes: which are ours, which files are in them, and what these must hold.

``manifest.json`` marks a folder as ours. It is written first, when the folder is made; again when the files are there
that a resumed process relies on; and last, when everything is there (``complete``). It lists the files that anything
reads again, each with its BLAKE2b digest, and every reader checks what it reads.

Files are removed by exact names, in folders of ours alone. Symbolic links are never followed for it.
"""

import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from filelock import FileLock, Timeout
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from frostline import __version__
from frostline._utils.files import MAX_TENSOR_FILE_BYTES, MAX_TEXT_BYTES, open_file, parse_json, read_bytes, reading
from frostline._utils.hashing import digest_bytes, digest_json, digest_open_file
from frostline._utils.storage import write_json
from frostline.errors import RunError, StorageError, storage_error

MANIFEST = "manifest.json"
LOCK = "lock"
FORMAT_VERSION = 1
MAX_MANIFEST_BYTES = 4 << 20

Kind = Literal["run", "bundle", "search", "curve", "audit"]


def _plain_name(name: str) -> str:
    if any(part in ("", ".", "..") for part in name.split("/")) or not name.isprintable() or "\\" in name:
        raise ValueError(f"{name!r} is no name of a file inside the folder")
    return name


FileName = Annotated[str, StringConstraints(max_length=200), AfterValidator(_plain_name)]
Digest = Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$")]


class _Record(BaseModel):
    """What ``manifest.json`` holds; ``checksum`` is a digest of the rest."""

    model_config = ConfigDict(strict=True)  # later versions may add to it

    format: int
    kind: Kind
    frostline: str
    complete: bool
    files: dict[FileName, Digest]
    checksum: Digest


@dataclass(frozen=True)
class Manifest:
    """What a folder of ours says of itself.

    Attributes
    ----------
    folder : Path
    kind : str
        ``run``, ``bundle``, ``search``, ``curve`` or ``audit``.
    complete : bool
        Whether everything is there.
    files : mapping of str to str
        Digests by relative name.
    remedy : str
        What the user can do about a file that is damaged.
    """

    folder: Path
    kind: str
    complete: bool
    files: Mapping[str, str] = field(default_factory=dict)
    remedy: str = "make the folder again"

    def read(self, name: str, most: int = MAX_TEXT_BYTES) -> bytes:
        """Return the content of a file.

        One that is not listed is read as it is while the folder is not complete: it changes until then.

        Raises
        ------
        RunError
            When it is missing, no regular file, larger than ``most``, or not the file that Frostline wrote.
        """
        path = self.folder / name
        with reading(path, RunError, self.remedy):
            data = read_bytes(path, most)
        self._compare(name, digest_bytes(data))
        return data

    def check(self, name: str, most: int = MAX_TENSOR_FILE_BYTES) -> str:
        """Check a large file without holding it, and return its digest; raises as `read` does."""
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
    """Return a folder's manifest, or ``None`` where there is none: no folder of ours, or of an earlier version.

    Parameters
    ----------
    folder : Path
    remedy : str
        What the user can do when it, or a file that it lists, is damaged.

    Raises
    ------
    RunError
        When it cannot be read, is damaged or of a later version.
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
    """Write a folder's manifest, whole or not at all.

    Parameters
    ----------
    folder : Path
    kind : str
    names : iterable of str
        The files to list, relative to the folder; those that are not there are left out.
    complete : bool
        Whether everything is there.
    known : mapping of str to str, optional
        Digests that are known, e.g. of the manifest before: a file that was listed then is not read again, so that
        what was changed meanwhile is noticed.
    remedy : str
        The option that chooses another place.

    Raises
    ------
    StorageError
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


@dataclass
class Held:
    """A folder that this process alone may write to.

    Attributes
    ----------
    folder : Path
    made : set of str
        Names of the files that this process made: they go when it fails before `keep`.
    kept : bool
        Whether there is something in it that must stay.
    """

    folder: Path
    made: set[str] = field(default_factory=set)
    kept: bool = False

    def keep(self) -> None:
        """Leave the folder as it is from now on, whatever happens."""
        self.kept = True


def _never(_: Path) -> bool:
    return False


@contextmanager
def hold(
    folder: Path,
    kind: Kind,
    names: Collection[str],
    *,
    what: str,
    other: str,
    remedy: str = "",
    earlier: Callable[[Path], bool] = _never,
) -> Iterator[Held]:
    """Hold a folder alone: a new or empty one, which is marked as ours, or one of ours.

    When the block fails before `Held.keep` was called, the files in ``Held.made`` are removed, and the folder if this
    process made it and it is empty.

    Parameters
    ----------
    folder : Path
        May be a symbolic link itself.
    kind : str
    names : collection of str
        Every name, relative to the folder, that files of ours have in it.
    what : str
        What it is to the user, e.g. ``"run 'mine'"``.
    other : str
        How to choose another one, e.g. ``"choose another --name"``.
    remedy : str
        The option that chooses another place.
    earlier : callable
        Whether a folder without a manifest was made by an earlier version.

    Raises
    ------
    RunError
        When it holds what is not ours, or another process is writing there.
    StorageError
        When it cannot be written.
    """
    check_ours(folder, kind, names, other=other, earlier=earlier)
    held = Held(folder)
    made_folder = False
    try:
        if not folder.is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # another process was quicker, or it is no folder: the lock will tell
                folder.mkdir()
                made_folder = True
        if not os.path.lexists(folder / LOCK):
            held.made.add(LOCK)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is writing {what}: wait for it, or {other}.") from error
    except OSError as error:
        raise storage_error(error, folder, remedy) from error
    try:
        check_ours(folder, kind, names, other=other, earlier=earlier)  # it may have changed while we looked
        remove_parts(folder, names)
        before = read_manifest(folder)
        if before is None and not earlier(folder):
            held.made.add(MANIFEST)
            write_manifest(folder, kind, remedy=remedy)
        yield held
    except BaseException:
        if not held.kept:
            with suppress(OSError):  # the error that ended the block matters more
                _undo(folder, kind, names, held.made, before)
                if made_folder:
                    folder.rmdir()
        raise
    finally:
        lock.release()


def _undo(folder: Path, kind: Kind, names: Collection[str], made: set[str], before: Manifest | None) -> None:
    """Remove what was made; what the manifest lists is there at every moment, also for a process that is killed."""
    remove_parts(folder, names)
    if before is not None or MANIFEST in made:
        files = before.files if before is not None else {}
        with suppress(StorageError):
            write_manifest(folder, kind, files, complete=before is not None and before.complete, known=files)
    marks = {MANIFEST, LOCK}
    remove_files(folder, made - marks)
    remove_files(folder, made & marks)


def check_ours(
    folder: Path, kind: str, names: Collection[str], *, other: str, earlier: Callable[[Path], bool] = _never
) -> None:
    """Refuse a folder that is neither new, nor empty, nor of ours and of this kind; see `hold`.

    Raises
    ------
    RunError
        Also when something that is no regular file stands where a file of ours belongs, or a symbolic link where a
        folder of ours does: it would be written or removed elsewhere.
    StorageError
        When it cannot be looked into.
    """
    try:
        there = sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return
    except ValueError as error:  # a NUL in the path
        raise RunError(f"{folder!r} is no path that a folder can have: {other}.") from error
    except OSError as error:
        raise storage_error(error, folder) from error
    foreign = [name for name in there if not _left_by_a_start(folder / name)]
    if not foreign:
        return
    if MANIFEST in there:
        manifest = read_manifest(folder, f"{other}, or remove it if the folder is yours to give up")
        if manifest is not None and manifest.kind != kind:
            raise RunError(f"{folder} holds a {manifest.kind}, not a {kind}: {other}.")
    elif not earlier(folder):
        raise RunError(f"{folder} exists and is no {kind} (it holds {foreign[0]}): {other}.")
    for name in (LOCK, *names):
        wrong = _not_ours(folder, name)
        if wrong:
            raise RunError(f"{wrong}, not what Frostline wrote: put it elsewhere, or {other}.")


def _left_by_a_start(path: Path) -> bool:
    """Whether a file is what a process leaves that is killed before it has marked its folder."""
    facts = path.lstat()
    empty_lock = path.name == LOCK and not facts.st_size
    return stat.S_ISREG(facts.st_mode) and (empty_lock or _is_part(path.name, {MANIFEST}))


def _not_ours(folder: Path, name: str) -> str:
    """Return what stands in the way of a file of ours, in words; empty when nothing does."""
    *parents, last = name.split("/")
    path = folder
    for parent in parents:
        path /= parent
        if path.is_symlink():
            return f"{path} is a symbolic link"
        if os.path.lexists(path) and not path.is_dir():
            return f"{path} is no folder"
    path /= last
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        return f"{path} is a symbolic link"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder"
    return "" if stat.S_ISREG(mode) else f"{path} is no regular file"


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files of ours by their exact names, and the folders of ours that are empty then.

    Parameters
    ----------
    folder : Path
        It stays.
    names : iterable of str
        Relative to it. What is no regular file, or lies beyond a symbolic link, is left alone.

    Raises
    ------
    OSError
    """
    names = set(names)
    for name in names:
        if not _not_ours(folder, name):
            (folder / name).unlink(missing_ok=True)
    for parent in sorted({name.rpartition("/")[0] for name in names if "/" in name}, key=len, reverse=True):
        if not _not_ours(folder, f"{parent}/file"):
            with suppress(OSError):  # it holds what is not ours, or is not there
                (folder / parent).rmdir()


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files that killed writers of some files left. Call it under the folder's lock.

    Raises
    ------
    OSError
    """
    of: dict[str, set[str]] = {}
    for name in {*names, MANIFEST}:
        parent, _, last = name.rpartition("/")
        of.setdefault(parent, set()).add(last)
    for parent, wanted in of.items():
        if (folder / parent).is_dir() and not (parent and _not_ours(folder, f"{parent}/file")):
            found = [entry.name for entry in os.scandir(folder / parent) if _is_part(entry.name, wanted)]
            remove_files(folder, [f"{parent}/{name}" if parent else name for name in found])


def _is_part(name: str, wanted: Collection[str]) -> bool:
    """Whether a name is that of a temporary file of `frostline._utils.storage.replacing` for one of some names."""
    match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}\.part", name)
    return match is not None and match[1] in wanted
