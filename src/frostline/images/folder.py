"""Pictures in class folders: ``ROOT/CLASS/…``, or ``ROOT/{train,val,test}/CLASS/…``."""

from collections import Counter
from pathlib import Path

from frostline.errors import DataError
from frostline.images.decode import SUFFIXES
from frostline.images.listing import SPLIT_NAMES, Listing
from frostline.progress import log


def list_folder(root: Path) -> Listing:
    """List the pictures of class folders, however deep they lie in them.

    The folders are splits when all of them have names of splits (train; val, valid or validation; test), else classes.
    Names that begin with a dot are passed over; files beside the class folders or of other kinds are left out and
    counted in the log.

    Raises
    ------
    DataError
        When no class folder holds a picture, or folders of splits and of classes lie side by side.
    """
    tops = _folders(root)
    splits = {folder: SPLIT_NAMES[folder.name.lower()] for folder in tops if folder.name.lower() in SPLIT_NAMES}
    others = [folder.name for folder in tops if folder not in splits]
    if others and "train" in splits.values() and len(splits) > 1:
        raise DataError(
            f"{root} holds folders of splits and others, such as {others[0]}: expected only train, val and test, "
            "or only classes."
        )
    homes = {root: None} if others or "train" not in splits.values() else splits
    rows: list[tuple[Path, str, str | None]] = []
    empty = set()
    left_out: Counter[str] = Counter()
    for home, split in homes.items():
        for folder in _folders(home):
            files = _files(folder)
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
            rows += [(path, folder.name, split) for path in pictures]
            left_out.update(path.suffix.lower() or "no ending" for path in set(files) - set(pictures))
            if not pictures:
                empty.add(folder.name)
        loose = sum(path.is_file() and path.suffix.lower() in SUFFIXES for path in home.iterdir())
        if loose:
            left_out["beside the class folders"] += loose
    if not rows:
        raise DataError(
            f"{root} has no class folders with pictures: expected {root}/CLASS/PICTURE or {root}/train/CLASS/PICTURE, "
            f"with pictures that end in {', '.join(sorted(SUFFIXES))}."
        )
    if left_out:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in left_out.most_common())
        log.warning("%s: %d files are left out: %s", root, left_out.total(), kinds)
    empty -= {name for _, name, _ in rows}
    if empty:
        log.warning("%s: no pictures in %s: it is no class", root, ", ".join(sorted(empty)))
    paths, classes, parts = zip(*rows, strict=True)
    return Listing(paths, classes, parts, str(root))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """Return the files below a folder in an order that no file system changes.

    Pipes, broken links and folders are among them when they are named like pictures: a look at each says what is wrong.
    """
    files = (path for path in folder.rglob("*") if path.is_file() or path.suffix.lower() in SUFFIXES)
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))
