"""Image files with a class each, from a folder or a table, become checked splits."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from frostline._utils.progress import log
from frostline.data.dataset import BadImage, ImageDataset, Splits
from frostline.data.decoding.decode import MAX_PIXELS
from frostline.data.levels import choose_levels, remarks, scales
from frostline.data.names import SPLITS, first_few, natural_order, unified, unprintable
from frostline.data.scan_file import ScannedFile
from frostline.data.splits import by_group, drawable, group_numbers, joined_groups
from frostline.errors import DataError

TEST_FRACTION = 0.15


@dataclass(frozen=True)
class SourceOptions:
    """How a folder, table or file of arrays is read.

    Parameters
    ----------
    path_column, label_column, split_column, group_column : str, optional
        Names of a table's columns; the usual names are looked for when left out.
    root : Path, optional
        The folder that a table's paths start from; the table's own when left out.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.
    """

    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    root: Path | None = None
    test_fraction: float = TEST_FRACTION

    @property
    def of_tables(self) -> list[str]:
        """The options given that only a table can have, as on the command line."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if field.name != "test_fraction" and getattr(self, field.name) is not None
        ]


DEFAULTS = SourceOptions()


TEST_SEED = 0  # not the run's: the test split is the same for all runs
CLASHES_NAMED = 3

Scan = Callable[[Sequence[Path]], list[ScannedFile]]


class ClashError(DataError):
    """The same file content stands under two classes.

    Attributes
    ----------
    pairs : list of (BadImage, BadImage)
        Every pair, each image with its class as the reason.
    """

    def __init__(self, message: str, pairs: list[tuple[BadImage, BadImage]]) -> None:
        super().__init__(message)
        self.pairs = pairs


@dataclass(frozen=True)
class Listing:
    """Image files as a folder or a table lists them.

    Attributes
    ----------
    paths : tuple of Path
    classes : tuple of str
        The class's name of each, as it is spelled there.
    splits : tuple of str or None
        ``train``, ``val`` or ``test`` for each; ``None`` where nothing is said, which counts as ``train``.
    source : str
        The folder or table, for messages.
    groups : tuple of str or None, optional
        What each image belongs to (a patient, a video) and must share its split with; ``None``: nothing.
    bad : tuple of BadImage
        Folders, links and rows that lead to no image.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    splits: tuple[str | None, ...]
    source: str
    groups: tuple[str | None, ...] | None = None
    bad: tuple[BadImage, ...] = ()


def listed_splits(
    listing: Listing,
    name: str,
    scan: Scan,
    *,
    strict: bool = False,
    test_fraction: float = TEST_FRACTION,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Look at every file and return the readable ones as splits; those that are missing are drawn (`complete`).

    Parameters
    ----------
    listing : Listing
    name : str
        The data set's.
    scan : callable
        Returns what is seen in each of some files (`frostline.data.scan`).
    strict : bool
        Refuse a file or folder that cannot be read, instead of leaving it out.
    test_fraction : float
        Share of each class that is drawn as test split where there is none.
    max_pixels : int
        What a file may claim to have when it is decoded.

    Raises
    ------
    DataError
        When there are no images, fewer than two classes, the same file under two classes (`ClashError`), classes that
        training lacks, or a group in two splits; with ``strict`` when an image cannot be read.
    """
    looks = scan(listing.paths)
    bad = listing.bad + tuple(
        BadImage(path, look.reason) for path, look in zip(listing.paths, looks, strict=True) if look.reason is not None
    )
    _report_bad(bad, listing, strict=strict)
    good = [i for i, look in enumerate(looks) if look.reason is None]
    paths, rows = [listing.paths[i] for i in good], [looks[i].row_id for i in good]
    classes = unified([listing.classes[i] for i in good], listing.source)
    _refuse_clashes(paths, classes, rows, listing.source)

    class_names = natural_order(classes)
    odd = unprintable(class_names)
    if odd:
        raise DataError(f"{listing.source}: the class {odd[0]!r} cannot be printed: rename it.")
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    row_of = dict(zip(paths, rows, strict=True))
    tones = [looks[i].tones for i in good]
    levels = choose_levels(tones)
    given = None if listing.groups is None else [listing.groups[i] for i in good]
    images = ImageDataset(
        tuple(paths),
        np.array([numbers[class_name] for class_name in classes], np.int64),
        tuple(class_names),
        identify=lambda wanted: [row_of[path] for path in wanted],
        groups=joined_groups(group_numbers(classes, rows, [looks[i].look for i in good]), given),
        longest_side=max((looks[i].side for i in good), default=None),
        levels=levels,
        max_pixels=max_pixels,
    )
    split_names = [listing.splits[i] or "train" for i in good]
    _refuse_torn_groups(given, split_names, listing.source)
    parts = {}
    for split in SPLITS:
        members = np.flatnonzero([name == split for name in split_names])
        parts[split] = images.subset(members) if len(members) else None
    for line in scales(tones, levels):
        log.info("%s: %s", listing.source, line)
    for line in remarks(tones, split_names, paths):
        log.warning("%s: %s", listing.source, line)
    return complete(name, listing.source, parts["train"], parts["val"], parts["test"], bad, test_fraction=test_fraction)


def complete(
    name: str,
    source: str,
    train: ImageDataset | None,
    val: ImageDataset | None = None,
    test: ImageDataset | None = None,
    bad: tuple[BadImage, ...] = (),
    *,
    test_fraction: float = TEST_FRACTION,
) -> Splits:
    """Return splits; a test split that is missing is drawn from ``train``, a share of each class.

    Images of one group (``train.groups``) stay on one side. A class that cannot fill the splits that are missing stays
    in training as a whole, also when a run draws its validation.

    Parameters
    ----------
    test_fraction : float
        The share; with 0 none is drawn and the test split has no images.

    Raises
    ------
    DataError
        When training has fewer than two classes, or lacks one that ``val`` or ``test`` has, or nothing can be drawn.
    """
    if train is None or not len(train):
        raise DataError(f"{source} has no training images that can be read: give each class some.")
    _check_classes(source, train, val, test)
    drawn = test is None and test_fraction > 0
    missing = (val is None) + drawn
    if missing:
        train = _small_classes_whole(train, missing + 1)
    if drawn and train.groups is not None:
        tested, rest = by_group(train.labels, train.groups, test_fraction, TEST_SEED, keep=missing)
        train, test = train.subset(rest), train.subset(tested)
    elif test is None and not drawn:
        log.warning("%s: no test split (--test-fraction 0): nothing will measure the accuracy on new images", source)
        test = train.subset(np.array([], np.int64))
    if test is None or (drawn and not len(test)) or (val is None and not _can_be_split(train)):
        hint = " To train without a test split: --test-fraction 0." if drawn else ""
        raise DataError(
            f"{source} has too few images to draw what is missing: {len(train) + len(test or ()):,} in "
            f"{len(train.class_names)} classes; some class needs {missing + 1} or more that do not look alike.{hint}"
        )
    return Splits(name, train, test, source, val, bad)


def _report_bad(bad: tuple[BadImage, ...], listing: Listing, *, strict: bool) -> None:
    if not bad:
        return
    total = len(listing.paths) + len(listing.bad)
    what = f"{len(bad):,} of {total:,} images cannot be read"
    if listing.bad:
        what = f"{len(bad):,} of {total:,} images, folders and links cannot be read"
    first = f"{bad[0].shown_path} {bad[0].reason}"
    if strict:
        raise DataError(f"{listing.source}: {what}; {first}: repair or remove them, or leave --strict out.")
    log.warning("%s and are left out; %s", what, first)
    unreadable = {image.path for image in bad}
    rows = zip(listing.paths, listing.classes, strict=True)
    lost = set(listing.classes) - {name for path, name in rows if path not in unreadable}
    if lost:
        log.warning("no image can be read of %s", first_few(natural_order(lost)))


def _refuse_clashes(paths: Sequence[Path], classes: Sequence[str], rows: Sequence[bytes], source: str) -> None:
    """Refuse one file's content under two classes."""
    first: dict[bytes, int] = {}
    clashes = []
    for i, row in enumerate(rows):
        before = first.setdefault(row, i)
        if classes[before] != classes[i]:
            clashes.append((before, i))
    if not clashes:
        return
    pairs = [(BadImage(paths[a], classes[a]), BadImage(paths[b], classes[b])) for a, b in clashes]
    shown = [f"{a.shown_path} ({a.reason}) and {b.shown_path} ({b.reason})" for a, b in pairs]
    raise ClashError(
        f"{source}: {len(clashes):,} images have the same bytes under two classes: {first_few(shown, CLASHES_NAMED)}: "
        f"keep each under one. `frostline data check {source}` lists all.",
        pairs,
    )


def _refuse_torn_groups(groups: Sequence[str | None] | None, splits: Sequence[str], source: str) -> None:
    """Refuse a group that is listed in two splits."""
    where: dict[str, str] = {}
    torn = []
    for group, split in zip(groups or (), splits, strict=False):
        if group is not None and where.setdefault(group, split) != split:
            torn.append(f"{group} ({where[group]} and {split})")
    if torn:
        torn = list(dict.fromkeys(torn))
        raise DataError(f"{source}: groups in two splits: {first_few(torn)}: give each group one split.")


def _check_classes(source: str, train: ImageDataset, val: ImageDataset | None, test: ImageDataset | None) -> None:
    known = Counter(train.labels.tolist())
    for split, part in (("validation", val), ("test", test)):
        counts = Counter([] if part is None else part.labels.tolist())
        foreign = [f"{train.class_names[label]} ({counts[label]:,})" for label in sorted(counts) if label not in known]
        if foreign:
            raise DataError(
                f"{source}: classes with {split} images but none to train on: {first_few(foreign)}: "
                "give each some, or remove it."
            )
    if len(known) < 2:
        (label, count), *_ = known.items()
        raise DataError(
            f"{source} has one class alone, {train.class_names[label]} with {count:,} images: two or more are needed."
        )


def _small_classes_whole(train: ImageDataset, fewest: int) -> ImageDataset:
    """Make one group of the groups of each class that has fewer than ``fewest``: it is never split."""
    if train.groups is None:
        return train
    groups, small = train.groups.copy(), dict[int, str]()
    joined = True
    while joined:  # a group may hold images of other classes, which then have fewer groups themselves
        joined = False
        for label in np.unique(train.labels).tolist():
            rows = train.labels == label
            members = np.unique(groups[rows])
            if len(members) < fewest:
                small[label] = f"{train.class_names[label]} ({int(rows.sum()):,})"
                if len(members) > 1:
                    groups[np.isin(groups, members)] = members[0]
                    joined = True
    if small:
        shown = first_few([small[label] for label in sorted(small)])
        log.warning("trained on but not tested, for want of %d images that do not look alike: %s", fewest, shown)
    return replace(train, groups=groups)


def _can_be_split(train: ImageDataset) -> bool:
    return train.groups is None or drawable(train.labels, train.groups)
