"""List images in class folders: ``ROOT/CLASS/…`` or ``ROOT/{train,val,test}/CLASS/…``, also nested deeper."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from frostline._utils.progress import log
from frostline.data.dataset import BadImage
from frostline.data.decoding.decode import SUFFIXES
from frostline.data.listing import Listing
from frostline.data.names import class_name, first_few, natural_key, natural_order, split_of
from frostline.errors import DataError

# Types that not every installation can read are listed, too: the scan reports what to do about them.
OTHER_IMAGES = frozenset({".heic", ".heif", ".avif", ".dcm", ".dicom"})
LISTED = SUFFIXES | OTHER_IMAGES
SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
MAX_DEPTH = 64


def find_images(root: Path) -> tuple[list[Path], list[BadImage]]:
    """Return all image files below a folder, and the folders and links that could not be read.

    Names are skipped and links followed as in `list_folder`.
    """
    reader = _FolderReader()
    folder = reader.read(root)
    return [] if folder is None else list(_files(root, folder)), reader.bad


@dataclass(eq=False)
class _Folder:
    """The content of a folder. A folder that several links point to is read once.

    ``images`` counts the image files in it and below. Names are in the order of their characters.
    """

    names: list[str] = field(default_factory=list)
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    images: int = 0

    @property
    def with_images(self) -> dict[str, "_Folder"]:
        """The subfolders with images, in natural order."""
        return {name: self.folders[name] for name in sorted(self.folders, key=natural_key) if self.folders[name].images}

    @property
    def holds_classes(self) -> bool:
        """Whether it can contain class folders: all its images are in subfolders."""
        return bool(self.with_images) and not self.loose

    @property
    def loose(self) -> int:
        """Number of image files directly in it."""
        return sum(name not in self.folders for name in self.names)


def list_folder(root: Path) -> Listing:
    """List the images of class folders, at any depth.

    The folders are splits when all of them have usual names of splits (`split_of`) and contain class folders; otherwise
    they are classes. A single folder that contains all others is entered. Links are followed. Names that begin with a
    dot are skipped; files outside the class folders or of other types are left out and counted in the log. Folders and
    links that cannot be read are in the listing's ``bad``.

    Raises
    ------
    DataError
        When no class folder has an image, split folders and class folders are mixed, or the folders may be either.
    """
    reader = _FolderReader()
    tree = reader.read(root)
    if tree is None:
        raise DataError(f"{root} cannot be read: {reader.bad[0].reason}.")
    top, node = _enter_single_folders(root, tree)
    splits = _split_folders(top, node)
    parents = [(top, node, None)] if splits is None else _class_parents(top, node, splits)
    rows: list[tuple[Path, str, str | None]] = []
    left_out: Counter[str] = Counter()
    empty: set[str] = set()
    for path, folder, split in parents:
        for name in sorted(folder.folders, key=natural_key):
            class_folder = folder.folders[name]
            rows += [(file, name, split) for file in _files(path / name, class_folder)]
            left_out += _others(class_folder)
            if not class_folder.images:
                empty.add(class_name(name))
        if folder.loose:
            left_out["outside the class folders"] += folder.loose
    if not rows:
        unread = f" ({reader.bad[0].shown_path} {reader.bad[0].reason})" if reader.bad else ""
        raise DataError(
            f"{root} has no class folders with images{unread}: expected {root}/CLASS/IMAGE or "
            f"{root}/train/CLASS/IMAGE, with images that end in {', '.join(sorted(SUFFIXES))}."
        )
    if left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common())
        total = left_out.total()
        log.warning("%s: %s left out: %s", root, "1 file is" if total == 1 else f"{total:,} files are", kinds)
    empty -= {class_name(name) for _, name, _ in rows}
    if empty:
        log.warning("%s: no images in %s: not a class", root, ", ".join(natural_order(empty)))
    paths, classes, parts = zip(*rows, strict=True)
    return Listing(paths, classes, parts, str(root), bad=tuple(reader.bad))


class _FolderReader:
    """Reads folders recursively, and records those that cannot be read."""

    def __init__(self) -> None:
        self.bad: list[BadImage] = []
        self._read: dict[tuple[int, int], _Folder] = {}  # by device and inode
        self._open: set[tuple[int, int]] = set()  # from the root to the current folder

    def read(self, path: Path, depth: int = 0) -> _Folder | None:
        """Return a folder's content; ``None`` when it cannot be read, which is recorded."""
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino or id(path))  # some file systems have no inode numbers
            if key in self._open:
                self._record(path, "is a link to a folder that contains it")
                return None
            if key in self._read:
                return self._read[key]
            if depth > MAX_DEPTH:
                self._record(path, f"is more than {MAX_DEPTH} folders deep")
                return None
            with os.scandir(path) as entries:
                ordered = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._record(path, f"cannot be opened: {error.strerror}")
            return None
        self._open.add(key)
        folder = self._read[key] = self._content(ordered, depth)
        self._open.discard(key)
        return folder

    def _content(self, entries: list[os.DirEntry[str]], depth: int) -> _Folder:
        folder = _Folder()
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.casefold() in SYSTEM_FOLDERS:
                continue
            suffix = _suffix(name)
            if suffix in LISTED:  # pipes and broken links, too: the scan reports what is wrong with them
                folder.names.append(name)
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # a loop of links
                is_folder = is_file = False
            if is_folder:
                subfolder = self.read(Path(entry.path), depth + 1)
                if subfolder is not None:
                    folder.folders[name] = subfolder
                    folder.images += subfolder.images
            elif suffix not in LISTED:
                if entry.is_symlink() and not Path(entry.path).exists():
                    self._record(Path(entry.path), "is a broken link, or in a loop of links")
                elif is_file:
                    folder.others[suffix or "no ending"] += 1
        folder.images += len(folder.names)
        return folder

    def _record(self, path: Path, reason: str) -> None:
        self.bad.append(BadImage(path, reason))


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _files(path: Path, folder: _Folder, visited: set[int] | None = None) -> Iterator[Path]:
    """Yield the image files in a folder and below, in the same order on every file system; each folder once."""
    visited = set() if visited is None else visited
    if id(folder) in visited:
        return
    visited.add(id(folder))
    for name in sorted({*folder.names, *folder.folders}):
        if _suffix(name) in LISTED:
            yield path / name
        if name in folder.folders:
            yield from _files(path / name, folder.folders[name], visited)


def _others(folder: _Folder, visited: set[int] | None = None) -> Counter[str]:
    """Count the files of other types by their endings; each folder once."""
    visited = set() if visited is None else visited
    if id(folder) in visited:
        return Counter()
    visited.add(id(folder))
    return sum((_others(subfolder, visited) for subfolder in folder.folders.values()), folder.others)


def _enter_single_folders(root: Path, folder: _Folder) -> tuple[Path, _Folder]:
    """Enter single folders down to the one that contains several folders, classes or splits."""
    path, node = root, folder
    for _ in range(MAX_DEPTH):
        if node.loose or len(node.with_images) != 1:
            break
        ((name, only),) = node.with_images.items()
        if split_of(name) and only.holds_classes:  # only train/CLASS
            break
        path, node = path / name, only
    single = len(node.with_images) == 1 and split_of(next(iter(node.with_images))) is not None
    if node is folder or not node.holds_classes or (len(node.with_images) < 2 and not single):
        return root, folder
    log.info("%s: the class folders are in %s", root, path)
    return path, node


def _split_folders(path: Path, folder: _Folder) -> dict[str, str] | None:
    """Return the split of each folder when the folders are splits, ``None`` when they are classes."""
    folders = folder.with_images
    splits = {name: split for name in folders if (split := split_of(name)) is not None}
    others = [name for name in folders if name not in splits]
    nested = [name for name in folders if folders[name].holds_classes]
    if "train" in splits.values():
        flat = [name for name, split in splits.items() if split == "train" and not folders[name].with_images]
        if not others and not flat:
            return splits
        if others and len(splits) > 1:
            raise DataError(
                f"{path} has split folders and others, such as {others[0]}: expected only train, val and test, "
                "or only classes."
            )
        if not others and len(splits) > 1:
            raise DataError(f"{path}/{flat[0]} has no class folders with images: expected {flat[0]}/CLASS/IMAGE.")
    elif splits and not others and (nested or len(splits) > 1):
        raise DataError(f"{path} has {', '.join(splits)} but no folder of training images: name it train.")
    if len(nested) == len(folders) > 1:
        _check_unnamed_splits(path, folders)
    return None


def _check_unnamed_splits(path: Path, folders: dict[str, _Folder]) -> None:
    """Raise an error when all folders have the same subfolders: it is unclear which of the two are the classes."""
    subfolders = [{class_name(name).casefold() for name in folder.with_images} for folder in folders.values()]
    shared = set.intersection(*subfolders)
    if len(shared) < 2:
        return
    names, common = first_few(list(folders)), first_few(natural_order(shared))
    if all(each == shared for each in subfolders):
        raise DataError(
            f"{path}: {names} have the same subfolders ({common}). If they are splits, name them train, val and test; "
            "if they are classes, move the images of each up into its folder, or list them in a table."
        )
    log.warning("%s: read as classes: %s; each of them has the subfolders %s", path, names, common)


def _class_parents(path: Path, folder: _Folder, splits: dict[str, str]) -> list[tuple[Path, _Folder, str | None]]:
    """Return each split's parent of class folders: its folder, or the only subfolder of that."""
    for split in set(splits.values()):
        same = [name for name, its_split in splits.items() if its_split == split]
        if len(same) > 1:
            log.warning("%s: %s are merged into the %s split", path, ", ".join(same), split)
    parents = {name: (path / name, folder.folders[name]) for name in splits}
    deeper = {name: _only_subfolder(*parents[name]) for name in splits}
    if all(deeper[name] for name, split in splits.items() if split == "train"):
        parents |= {name: subfolder for name, subfolder in deeper.items() if subfolder}
    return [(*parents[name], splits[name]) for name in splits]


def _only_subfolder(path: Path, folder: _Folder) -> tuple[Path, _Folder] | None:
    """Return the only subfolder, as in ``training_set/training_set/CLASS``, when it has several class folders."""
    if len(folder.with_images) != 1:
        return None
    ((name, only),) = folder.with_images.items()
    return (path / name, only) if only.holds_classes and len(only.with_images) > 1 else None
