"""Images in class folders: ``ROOT/CLASS/…``, or ``ROOT/{train,val,test}/CLASS/…``, also some folders further down."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from frostline._utils.progress import log
from frostline.data.dataset import BadImage
from frostline.data.decoding.decode import SUFFIXES
from frostline.data.listing import Listing
from frostline.data.names import class_name, first_few, natural_key, split_of
from frostline.errors import DataError

# Images of kinds that not every installation can read are listed, too: a look at each says what to do about it.
OTHER_IMAGES = frozenset({".heic", ".heif", ".avif", ".dcm", ".dicom"})
LISTED = SUFFIXES | OTHER_IMAGES
SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
MAX_DEPTH = 64


def find_images(root: Path) -> tuple[list[Path], list[BadImage]]:
    """Return the image files of a folder and those below it, and what could not be read of them.

    The same names are passed over and the same links followed as in `list_folder`.
    """
    reader = _FolderReader()
    folder = reader.read(root)
    return [] if folder is None else list(_files(root, folder)), reader.bad


@dataclass(eq=False)
class _Folder:
    """A folder's content, read once; a folder that several links lead to is one object.

    ``images`` counts the image files in it and below. Names are in the order of their characters.
    """

    names: list[str] = field(default_factory=list)
    folders: dict[str, "_Folder"] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    images: int = 0

    @property
    def tops(self) -> dict[str, "_Folder"]:
        """The sub-folders with images, in natural order."""
        return {name: self.folders[name] for name in sorted(self.folders, key=natural_key) if self.folders[name].images}

    @property
    def holds_classes(self) -> bool:
        """Whether it can hold class folders: all its images are in sub-folders."""
        return bool(self.tops) and not self.loose

    @property
    def loose(self) -> int:
        """How many image files lie in it directly."""
        return sum(name not in self.folders for name in self.names)


def list_folder(root: Path) -> Listing:
    """List the images of class folders, however deep they lie in them.

    The folders are splits when all of them have usual names of splits (`split_of`) and hold class folders, else they
    are classes. A single folder that holds all others is descended into. Links are followed. Names that begin with a
    dot are passed over; files beside the class folders or of other kinds are left out and counted in the log.

    Returns
    -------
    Listing
        Folders and links that cannot be read are in its ``bad``.

    Raises
    ------
    DataError
        When no class folder holds an image, folders of splits and of classes lie side by side, or nothing tells which
        of the two the folders are.
    """
    reader = _FolderReader()
    tree = reader.read(root)
    if tree is None:
        raise DataError(f"{root} cannot be read: {reader.bad[0].reason}.")
    home, node = _descended(root, tree)
    splits = _split_folders(home, node)
    homes = [(home, node, None)] if splits is None else _split_homes(home, node, splits)
    rows: list[tuple[Path, str, str | None]] = []
    left_out: Counter[str] = Counter()
    empty: set[str] = set()
    for place, folder, split in homes:
        for name in sorted(folder.folders, key=natural_key):
            top = folder.folders[name]
            rows += [(path, name, split) for path in _files(place / name, top)]
            left_out += _others(top)
            if not top.images:
                empty.add(class_name(name))
        if folder.loose:
            left_out["beside the class folders"] += folder.loose
    if not rows:
        _refuse_empty(root, node, reader.bad)
    if left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common())
        log.warning("%s: %d files are left out: %s", root, left_out.total(), kinds)
    empty -= {class_name(name) for _, name, _ in rows}
    if empty:
        log.warning("%s: no images in %s: not a class", root, ", ".join(sorted(empty, key=natural_key)))
    paths, classes, parts = zip(*rows, strict=True)
    return Listing(paths, classes, parts, str(root), bad=tuple(reader.bad))


class _FolderReader:
    """Reads folders with what is in them, and notes those that cannot be read."""

    def __init__(self) -> None:
        self.bad: list[BadImage] = []
        self._read: dict[tuple[int, int], _Folder] = {}  # by device and inode
        self._open: set[tuple[int, int]] = set()  # those on the way from the root to the present one

    def read(self, path: Path, depth: int = 0) -> _Folder | None:
        """Return a folder's content; ``None`` when it cannot be read, which is noted."""
        try:
            facts = path.stat()
            key = (facts.st_dev, facts.st_ino or id(path))  # some file systems have no numbers
            if key in self._open:
                self._note(path, "is a link to a folder that holds it")
                return None
            if key in self._read:
                return self._read[key]
            if depth > MAX_DEPTH:
                self._note(path, f"lies more than {MAX_DEPTH} folders deep")
                return None
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self._note(path, f"cannot be opened: {error.strerror}")
            return None
        self._open.add(key)
        folder = self._read[key] = self._content(found, depth)
        self._open.discard(key)
        return folder

    def _content(self, entries: list[os.DirEntry[str]], depth: int) -> _Folder:
        folder = _Folder()
        for entry in entries:
            name = entry.name
            if name.startswith(".") or name.casefold() in SYSTEM_FOLDERS:
                continue
            suffix = _suffix(name)
            if suffix in LISTED:  # whatever it is: a look at it says what is wrong with a pipe or a broken link
                folder.names.append(name)
            if _is_folder(entry):
                below = self.read(Path(entry.path), depth + 1)
                if below is not None:
                    folder.folders[name] = below
                    folder.images += below.images
            elif suffix not in LISTED:
                if _is_broken_link(entry):
                    self._note(Path(entry.path), "is a link to nothing, or in a loop of links")
                elif _is_file(entry):
                    folder.others[suffix or "no ending"] += 1
        folder.images += len(folder.names)
        return folder

    def _note(self, path: Path, reason: str) -> None:
        self.bad.append(BadImage(path, reason))


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def _files(place: Path, folder: _Folder, seen: set[int] | None = None) -> Iterator[Path]:
    """Yield the image files in a folder and below, in an order that no file system changes; each folder once."""
    seen = set() if seen is None else seen
    if id(folder) in seen:
        return
    seen.add(id(folder))
    for name in sorted({*folder.names, *folder.folders}):
        if _suffix(name) in LISTED:
            yield place / name
        if name in folder.folders:
            yield from _files(place / name, folder.folders[name], seen)


def _others(folder: _Folder, seen: set[int] | None = None) -> Counter[str]:
    seen = set() if seen is None else seen
    if id(folder) in seen:
        return Counter()
    seen.add(id(folder))
    return sum((_others(below, seen) for below in folder.folders.values()), folder.others)


def _descended(root: Path, folder: _Folder) -> tuple[Path, _Folder]:
    """Go down through single folders to the one that holds several, be they classes or splits."""
    place, node = root, folder
    for _ in range(MAX_DEPTH):
        tops = node.tops
        if node.loose or len(tops) != 1:
            break
        ((name, only),) = tops.items()
        if split_of(name) and only.holds_classes:  # train/CLASS alone
            break
        place, node = place / name, only
    single = len(node.tops) == 1 and split_of(next(iter(node.tops))) is not None
    if node is folder or not node.holds_classes or (len(node.tops) < 2 and not single):
        return root, folder
    log.info("%s: the class folders are in %s", root, place)
    return place, node


def _split_folders(place: Path, folder: _Folder) -> dict[str, str] | None:
    """Return the split of each folder when the folders are splits, ``None`` when they are classes."""
    tops = folder.tops
    splits = {name: split for name in tops if (split := split_of(name)) is not None}
    others = [name for name in tops if name not in splits]
    nested = [name for name in tops if tops[name].holds_classes]
    if "train" in splits.values():
        flat = [name for name, split in splits.items() if split == "train" and not tops[name].tops]
        if not others and not flat:
            return splits
        if others and len(splits) > 1:
            raise DataError(
                f"{place} holds folders of splits and others, such as {others[0]}: expected only train, val and test, "
                "or only classes."
            )
        if not others and len(splits) > 1:
            raise DataError(f"{place}/{flat[0]} has no class folders with images: expected {flat[0]}/CLASS/IMAGE.")
    elif splits and not others and (nested or len(splits) > 1):
        raise DataError(f"{place} has {', '.join(splits)} but no folder of training images: name it train.")
    if len(nested) == len(tops) > 1:
        _refuse_unnamed_splits(place, tops)
    return None


def _refuse_unnamed_splits(place: Path, tops: dict[str, _Folder]) -> None:
    """Refuse folders that all hold the same sub-folders: these are classes, or the folders are; nothing tells which."""
    held = [{class_name(name).casefold() for name in top.tops} for top in tops.values()]
    shared = set.intersection(*held)
    if len(shared) < 2:
        return
    names, below = first_few(list(tops)), first_few(sorted(shared, key=natural_key))
    if all(one == shared for one in held):
        raise DataError(
            f"{place}: {names} hold the same sub-folders ({below}). If they are splits, name them train, val and test; "
            "if they are classes, move the images of each up into its folder, or list them in a table."
        )
    log.warning("%s: taken for classes: %s; the sub-folders %s are in each of them", place, names, below)


def _split_homes(place: Path, folder: _Folder, splits: dict[str, str]) -> list[tuple[Path, _Folder, str | None]]:
    """Return each split's folder; one level further down where the training folder holds another one alone."""
    for split in set(splits.values()):
        same = [name for name, other in splits.items() if other == split]
        if len(same) > 1:
            log.warning("%s: %s are together the %s split", place, ", ".join(same), split)
    found = {name: (place / name, folder.folders[name]) for name in splits}
    deeper = {name: _only_below(*found[name]) for name in splits}
    if all(deeper[name] for name, split in splits.items() if split == "train"):
        found |= {name: below for name, below in deeper.items() if below}
    return [(*found[name], splits[name]) for name in splits]


def _only_below(place: Path, folder: _Folder) -> tuple[Path, _Folder] | None:
    """Return the only sub-folder, as in ``training_set/training_set/CLASS``, when it holds several class folders."""
    tops = folder.tops
    if len(tops) != 1:
        return None
    ((name, only),) = tops.items()
    return (place / name, only) if only.holds_classes and len(only.tops) > 1 else None


def _refuse_empty(root: Path, folder: _Folder, bad: list[BadImage]) -> None:
    unread = f" ({bad[0].shown_path} {bad[0].reason})" if bad else ""
    raise DataError(
        f"{root} has no class folders with images{unread}: expected {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE, "
        f"with images that end in {', '.join(sorted(SUFFIXES))}."
    )
