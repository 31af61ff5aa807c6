"""Output folders: one process at a time writes there, and only files that Frostline wrote are replaced or removed.

A command claims its folder with `OutputFolder.claim`: a new or empty one, which gets a manifest at once, or one that
an earlier command of the same kind wrote, to resume or to overwrite it. Files are removed by their exact names alone,
and symbolic links are never followed.
"""

import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from frostline._utils.manifest import MANIFEST, Kind, read_manifest, write_manifest
from frostline._utils.storage import part_of
from frostline._utils.text import few
from frostline.errors import ConfigError, FrostlineError, RunError, StorageError, storage_error

LOCK = "lock"
START_OVER = "--overwrite starts over"


def check_mode(*, overwrite: bool, resume: bool) -> None:
    """Raise `ConfigError` for ``--overwrite`` together with ``--resume``."""
    if overwrite and resume:
        raise ConfigError("--overwrite starts over and --resume continues: use one of the two.")


@dataclass(frozen=True)
class Output:
    """A file or folder that a command writes, with the errors if earlier output exists.

    Attributes
    ----------
    title : str
        For messages, e.g. ``"run 'mine'"``.
    elsewhere : str
        How to choose another one, e.g. ``"choose another --name"``.
    """

    title: str
    elsewhere: str

    def exists_error(self, note: str = "", *, can_resume: bool = True) -> RunError:
        """Return the error for existing output without ``--resume`` or ``--overwrite``."""
        note, resume = note and f" ({note})", "--resume to continue it, " if can_resume else ""
        return RunError(f"{self.title} exists{note}: {self.elsewhere}, {resume}or --overwrite to replace it.")

    def changed_error(self, change: str, restore: str = "use the same value") -> RunError:
        """Return the error for output that was started differently and cannot be resumed."""
        return RunError(
            f"{self.title} was started with {change}: {restore} to resume, {self.elsewhere}, "
            "or --overwrite to replace it."
        )

    def check_same(self, before: Mapping[str, Any], now: Mapping[str, Any], record: Path | None = None) -> None:
        """Refuse to resume with settings that differ from those in ``before``; only those in ``now`` are compared.

        ``record`` is the file that ``before`` was read from, if it is not protected by a digest: the error names it.

        Raises
        ------
        RunError
        """
        for name, value in now.items():
            if value != before.get(name):
                source = f" (by {record})" if record else ""
                raise self.changed_error(f"{name} = {before.get(name)!r}, not {value!r}{source}")


@dataclass(frozen=True)
class OutputFolder(Output):
    """A folder that a command writes.

    Attributes
    ----------
    path : Path
        May be a symbolic link.
    kind : str
        One of `Kind`.
    names : collection of str
        Every file that Frostline writes in it, as relative names, except the manifest and the lock.
    remedy : str
        The option that chooses another place, for errors of the file system.
    made_earlier : callable
        Whether the folder was created by a version that wrote no manifests.
    """

    path: Path
    kind: Kind
    names: Collection[str]
    remedy: str = ""
    made_earlier: Callable[[Path], bool] = lambda _: False

    @contextmanager
    def claim(self) -> Iterator["Claim"]:
        """Lock the folder for this process, and mark it with a manifest if it is new or empty.

        If the block fails before `Claim.keep` was called, the files in ``Claim.made`` are removed, and the folder if
        this process created it and it is empty.

        Raises
        ------
        RunError
            As `check`, or if another process is writing there.
        StorageError
            If it cannot be written.
        """
        self.check()
        claim = Claim(self)
        made_folder = False
        try:
            if not self.path.is_dir():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with suppress(FileExistsError):  # created meanwhile, or not a folder: the lock will show
                    self.path.mkdir()
                    made_folder = True
            claim.will_write(LOCK)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RunError(f"another process is writing {self.title}: wait for it, or {self.elsewhere}.") from error
        except OSError as error:
            raise storage_error(error, self.path, self.remedy) from error
        marked = False
        try:
            self.check()  # it may have changed before the lock was taken
            remove_parts(self.path, self.names)
            marked = read_manifest(self.path) is not None
            if not marked and not self.made_earlier(self.path):
                claim.made.add(MANIFEST)
                self.mark()
                marked = True
            yield claim
        except BaseException:
            if not claim.kept:
                with suppress(OSError, FrostlineError):  # the error that ended the block matters more
                    self._undo(claim.made, marked=marked)
                    if made_folder:
                        self.path.rmdir()
            raise
        finally:
            lock.release()

    def _undo(self, made: set[str], *, marked: bool) -> None:
        """Remove created files, first from the manifest: the process may be killed at any moment."""
        if marked:
            remove_parts(self.path, self.names)
            manifest = read_manifest(self.path)
            if manifest is not None and not made.isdisjoint(manifest.files):
                files = {name: digest for name, digest in manifest.files.items() if name not in made}
                with suppress(StorageError):  # a full disk: remove the files anyway
                    self.mark(files, complete=manifest.complete, known=files)
        marks = {MANIFEST, LOCK}
        remove_files(self.path, made - marks)
        remove_files(self.path, made & marks)

    def check(self) -> None:
        """Refuse a folder that is neither new, nor empty, nor of this kind.

        Raises
        ------
        RunError
            Also if one of Frostline's files is not a regular file there, or one of its folders is a symbolic link, so
            that files elsewhere would be written or removed.
        StorageError
            If it cannot be read.
        """
        try:
            found = sorted(entry.name for entry in os.scandir(self.path))
        except FileNotFoundError:
            return
        except ValueError as error:  # a NUL in the path
            raise RunError(f"{self.path!r} cannot be the path of a folder: {self.elsewhere}.") from error
        except OSError as error:
            raise storage_error(error, self.path) from error
        foreign = [name for name in found if not _left_by_killed_start(self.path / name)]
        if not foreign:
            return
        if MANIFEST in found:
            manifest = read_manifest(self.path, f"{self.elsewhere}, or remove the folder if you do not need it")
            if manifest is not None and manifest.kind != self.kind:
                raise RunError(f"{self.path} contains {_a(manifest.kind)}, not {_a(self.kind)}: {self.elsewhere}.")
        elif not self.made_earlier(self.path):
            raise RunError(
                f"{self.path} exists and is not {_a(self.kind)} (it contains {foreign[0]}): {self.elsewhere}."
            )
        for name in (LOCK, *self.names):
            obstacle = _obstacle(self.path, name)
            if obstacle:
                raise RunError(f"{obstacle}, not a file that Frostline wrote: move it away, or {self.elsewhere}.")

    def mark(
        self, names: Iterable[str] = (), *, complete: bool = False, known: Mapping[str, str] | None = None
    ) -> None:
        """Write the manifest; see `write_manifest`."""
        write_manifest(self.path, self.kind, names, complete=complete, known=known, remedy=self.remedy)

    def delete(self) -> None:
        """Remove the folder, which must contain nothing but files of Frostline; see `check_deletable`."""
        self.check_deletable()
        with self.claim() as claim:
            claim.keep()
            self.check_deletable()  # files may have been added before the lock was taken
            self.remove(self.names)
            self.remove([MANIFEST, LOCK])  # last: the process may be killed at any moment
            try:
                self.path.rmdir()
            except OSError as error:
                raise storage_error(error, self.path, self.remedy) from error

    def check_deletable(self) -> None:
        """Refuse a folder that `check` refuses, a link to one, and one that contains other files.

        Raises
        ------
        RunError, StorageError
        """
        if self.path.is_symlink():
            raise RunError(f"{self.path} is a symbolic link: {self.elsewhere}.")
        self.check()
        foreign = sorted(self._foreign())
        if foreign:
            raise RunError(
                f"{self.title} contains what Frostline did not write ({few(foreign)}): move it away, or "
                f"{self.elsewhere}."
            )

    def _foreign(self) -> Iterator[str]:
        """Yield the relative names of files and folders that Frostline does not write there."""
        known = {MANIFEST, LOCK, *self.names}
        folders = {parent for name in known for parent in map(str, PurePosixPath(name).parents)}
        for top, below, files in os.walk(self.path):
            place = Path(top).relative_to(self.path)
            for name in below:
                if (inner := (place / name).as_posix()) not in folders:
                    yield f"{inner}/"
            below[:] = [name for name in below if (place / name).as_posix() in folders]
            for name in files:
                if (place / (part_of(name) or name)).as_posix() not in known:
                    yield (place / name).as_posix()

    def remove(self, names: Iterable[str]) -> None:
        """Remove files by their exact names; see `remove_files`.

        Raises
        ------
        StorageError
        """
        try:
            remove_files(self.path, names)
        except OSError as error:
            raise storage_error(error, self.path, self.remedy) from error


@dataclass
class Claim:
    """A folder that this process alone may write to.

    Attributes
    ----------
    folder : OutputFolder
    made : set of str
        Names of the files that this process creates: they are removed if it fails before `keep`.
    kept : bool
        Whether the files are kept if the process fails.
    """

    folder: OutputFolder
    made: set[str] = field(default_factory=set)
    kept: bool = False

    def will_write(self, *names: str) -> None:
        """Register files that this process may write; those that exist already will not be removed."""
        self.made |= {name for name in names if not os.path.lexists(self.folder.path / name)}

    def keep(self) -> None:
        """Keep all files from now on, even if the process fails."""
        self.kept = True


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _left_by_killed_start(path: Path) -> bool:
    """Whether a file is left from a process that was killed before it wrote the manifest."""
    facts = path.lstat()
    empty_lock = path.name == LOCK and not facts.st_size
    return stat.S_ISREG(facts.st_mode) and (empty_lock or part_of(path.name) == MANIFEST)


def _obstacle(folder: Path, name: str) -> str:
    """Return why the name cannot be used for a regular file; empty if it can."""
    *parents, last = name.split("/")
    path = folder
    for parent in parents:
        path /= parent
        if path.is_symlink():
            return f"{path} is a symbolic link"
        if os.path.lexists(path) and not path.is_dir():
            return f"{path} is not a folder"
    path /= last
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return ""
    if stat.S_ISLNK(mode):
        return f"{path} is a symbolic link"
    if stat.S_ISDIR(mode):
        return f"{path} is a folder"
    return "" if stat.S_ISREG(mode) else f"{path} is not a regular file"


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Remove files in a folder by their relative names, and subfolders that are empty afterwards.

    Anything but a regular file, or behind a symbolic link, is not removed.

    Raises
    ------
    OSError
    """
    names = set(names)
    for name in names:
        if not _obstacle(folder, name):
            (folder / name).unlink(missing_ok=True)
    for parent in sorted({name.rpartition("/")[0] for name in names if "/" in name}, key=len, reverse=True):
        if not _obstacle(folder, f"{parent}/file"):
            with suppress(OSError):  # it is missing, or holds other files
                (folder / parent).rmdir()


def remove_parts(folder: Path, names: Iterable[str]) -> None:
    """Remove temporary files that killed writers of these files left behind. Call it under the folder's lock.

    Raises
    ------
    OSError
    """
    by_parent: dict[str, set[str]] = {}
    for name in {*names, MANIFEST}:
        parent, _, last = name.rpartition("/")
        by_parent.setdefault(parent, set()).add(last)
    for parent, wanted in by_parent.items():
        if (folder / parent).is_dir() and not (parent and _obstacle(folder, f"{parent}/file")):
            found = [entry.name for entry in os.scandir(folder / parent) if part_of(entry.name) in wanted]
            remove_files(folder, [f"{parent}/{name}" if parent else name for name in found])
