"""Sorting of image files into one folder per class, as copies or links; existing files are never replaced."""

import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from frostline._utils.files import open_file, read_bytes
from frostline.data.decoding.decode import MAX_BYTES
from frostline.data.folder_names import folder_names, numbered
from frostline.errors import ConfigError, DataError, storage_error
from frostline.evaluation.rejection import UNKNOWN

REMEDY = "--sort-into chooses another place"


class ClassFolders:
    """The folders of the classes.

    Parameters
    ----------
    root : Path
        Parent folder, created if missing.
    class_names : sequence of str
    rejected : bool
        Whether there is a folder ``unknown``; a class of that name gets another folder name.
    link : str, optional
        ``hard`` or ``symbolic`` links; copies by default.

    Attributes
    ----------
    placed : Counter
        Number of new files by folder.
    there : int
        Number of files that existed already.
    """

    def __init__(
        self, root: Path, class_names: Sequence[str], *, rejected: bool = False, link: str | None = None
    ) -> None:
        self._root, self._link = root, link
        names = folder_names([UNKNOWN, *class_names] if rejected else class_names)
        self._unknown = names.pop(0) if rejected else None
        self._names = names
        self.placed: Counter[str] = Counter()
        self.there = 0

    def place(self, file: Path, label: int | None) -> Path:
        """Put a file into the folder of a class, or ``unknown`` for None, and return its new path.

        If another file has its name, a number is appended; if the same file exists already, nothing is written.

        Raises DataError when the file cannot be read; StorageError when the folder cannot be written.
        """
        name = self._unknown if label is None else self._names[label]
        if name is None:
            raise ValueError("there is no folder for unknown images")
        folder = self._root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target, new = self._placed(file, folder)
        except OSError as error:
            raise storage_error(error, folder, REMEDY) from error
        if new:
            self.placed[name] += 1
        else:
            self.there += 1
        return target

    @property
    def summary(self) -> str:
        """Number of files by folder, as text."""
        counts = ", ".join(f"{name} {number:,}" for name, number in sorted(self.placed.items()))
        there = f"{self.there:,} were there already" if self.there else ""
        return "; ".join(part for part in (counts, there) if part) or "nothing was sorted"

    def _placed(self, file: Path, folder: Path) -> tuple[Path, bool]:
        if self._link:
            return _first_free(file, folder, self._make_link)
        with _copied(file, folder) as copy:
            return _first_free(file, folder, lambda _, target: _rename(copy, target))

    def _make_link(self, file: Path, target: Path) -> None:
        if self._link == "symbolic":
            target.symlink_to(file.absolute())
        else:
            target.hardlink_to(file)


def check_target(root: Path, searched: Sequence[Path]) -> None:
    """Refuse to sort into a folder that is searched for images, or into a subfolder of it."""
    target = root.resolve()
    for path in searched:
        if path.is_dir() and target.is_relative_to(path.resolve()):
            raise ConfigError(
                f"--sort-into {root} is inside {path}, which is searched for images: sorted images would be found "
                "again; choose another folder."
            )


def _first_free(file: Path, folder: Path, make: Callable[[Path, Path], None]) -> tuple[Path, bool]:
    """Call ``make`` with the first free name; return the path, and whether it is new."""
    for name in numbered(file.stem, file.suffix):
        target = folder / name
        if _is_same(file, target):
            return target, False
        try:
            make(file, target)
        except FileExistsError:
            continue
        return target, True
    raise AssertionError("unreachable")


def _is_same(file: Path, target: Path) -> bool:
    """Whether the target is the file itself or has the same content."""
    try:
        if file.samefile(target):
            return True
        if not target.is_file() or file.stat().st_size != target.stat().st_size:
            return False
        return read_bytes(file, MAX_BYTES) == read_bytes(target, MAX_BYTES)
    except OSError:
        return False


@contextmanager
def _copied(file: Path, folder: Path) -> Iterator[Path]:
    """Copy a file under a temporary name; the copy is removed afterwards."""
    try:
        source = open_file(file, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{file} cannot be copied: {error.strerror}.") from error
    copy = folder / f".{secrets.token_hex(8)}.part"
    try:
        with source, copy.open("xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
            facts = os.fstat(source.fileno())
        os.utime(copy, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _rename(copy: Path, target: Path) -> None:
    """Give a copy its final name.

    Raises FileExistsError when the name is taken.
    """
    try:
        target.hardlink_to(copy)
    except FileExistsError:
        raise
    except OSError:  # no hard links here: reserve the name with an empty file
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            copy.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise
