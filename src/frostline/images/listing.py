"""Picture files with a class each, from a folder or a table, become checked splits."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from frostline.errors import DataError
from frostline.images.alike import group_numbers
from frostline.images.dataset import BadImage, ImageDataset, Splits
from frostline.images.decode import MAX_PIXELS
from frostline.images.levels import choose_levels, remarks, scales
from frostline.images.look import Look
from frostline.images.splits import by_group
from frostline.progress import log

SPLIT_NAMES = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
TEST_SHARE = 0.15
TEST_SEED = 0  # not the run's: the test split is the same for all runs
MOST_NAMED = 5

Scan = Callable[[Sequence[Path]], list[Look]]


@dataclass(frozen=True)
class Listing:
    """Picture files as a folder or a table lists them.

    Attributes
    ----------
    paths : tuple of Path
    classes : tuple of str
        The class's name of each.
    splits : tuple of str or None
        ``train``, ``val`` or ``test`` for each; ``None`` where nothing is said, which counts as ``train``.
    source : str
        The folder or table, for messages.
    """

    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    splits: tuple[str | None, ...]
    source: str


def listed_splits(
    listing: Listing, name: str, scan: Scan, *, strict: bool = False, max_pixels: int = MAX_PIXELS
) -> Splits:
    """Look at every file and return the readable ones as splits; those that are missing are drawn (`complete`).

    Parameters
    ----------
    listing : Listing
    name : str
        The data set's.
    scan : callable
        Returns what is seen in each of some files (`frostline.images.scan`).
    strict : bool
        Refuse a file that cannot be read, instead of leaving it out.
    max_pixels : int
        What a file may claim to have when it is decoded.

    Raises
    ------
    DataError
        When there are no pictures, fewer than two classes, the same file under two classes, or classes that training
        lacks; with ``strict`` when a picture cannot be read.
    """
    looks = scan(listing.paths)
    bad = tuple(
        BadImage(path, look.reason) for path, look in zip(listing.paths, looks, strict=True) if look.reason is not None
    )
    _tell_bad(bad, listing, strict=strict)
    good = [i for i, look in enumerate(looks) if look.reason is None]
    paths, classes = [listing.paths[i] for i in good], [listing.classes[i] for i in good]
    rows = [looks[i].row_id for i in good]
    _refuse_clashes(paths, classes, rows, listing.source)

    class_names = sorted(set(classes))
    unprintable = [name for name in class_names if {"Cc", "Cs"} & set(map(unicodedata.category, name))]
    if unprintable:
        raise DataError(f"{listing.source}: the class {unprintable[0]!r} cannot be printed: rename it.")
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    row_of = dict(zip(paths, rows, strict=True))
    tones = [looks[i].tones for i in good]
    levels = choose_levels(tones)
    images = ImageDataset(
        tuple(paths),
        np.array([numbers[class_name] for class_name in classes], np.int64),
        tuple(class_names),
        identify=lambda wanted: [row_of[path] for path in wanted],
        groups=group_numbers(classes, rows, [looks[i].look for i in good]),
        longest_side=max((looks[i].side for i in good), default=None),
        levels=levels,
        max_pixels=max_pixels,
    )
    parts = {}
    for split in ("train", "val", "test"):
        members = [place for place, i in enumerate(good) if (listing.splits[i] or "train") == split]
        parts[split] = images.subset(np.array(members, np.int64)) if members else None
    for line in scales(tones, levels):
        log.info("%s: %s", listing.source, line)
    for line in remarks(tones, [listing.splits[i] or "train" for i in good], paths):
        log.warning("%s: %s", listing.source, line)
    return complete(name, listing.source, parts["train"], parts["val"], parts["test"], bad)


def complete(
    name: str,
    source: str,
    train: ImageDataset | None,
    val: ImageDataset | None = None,
    test: ImageDataset | None = None,
    bad: tuple[BadImage, ...] = (),
) -> Splits:
    """Return splits; a test split that is missing is drawn from ``train``, 15 % of each class.

    Images that look alike (``train.groups``) stay on one side. A class that cannot fill the splits that are missing
    stays in training as a whole, also when a run draws its validation.

    Raises
    ------
    DataError
        When training has fewer than two classes, or lacks one that ``val`` or ``test`` has, or nothing can be drawn.
    """
    if train is None or not len(train):
        raise DataError(f"{source} has no training pictures that can be read: give each class some.")
    _check_classes(source, train, val, test)
    missing = (val is None) + (test is None)
    if missing:
        train = _small_classes_whole(train, missing + 1)
    if test is None and train.groups is not None:
        drawn, rest = by_group(train.labels, train.groups, TEST_SHARE, TEST_SEED, keep=missing)
        train, test = train.subset(rest), train.subset(drawn)
    if test is None or not len(test) or (val is None and not _can_be_split(train)):
        raise DataError(
            f"{source} has too few pictures to draw what is missing: {len(train):,} in {len(train.class_names)} "
            f"classes; some class needs {missing + 1} or more that do not look alike."
        )
    return Splits(name, train, test, source, val, bad)


def _tell_bad(bad: tuple[BadImage, ...], listing: Listing, *, strict: bool) -> None:
    if not bad:
        return
    what = f"{len(bad):,} of {len(listing.paths):,} pictures cannot be read"
    first = f"{bad[0].shown_path} {bad[0].reason}"
    if strict:
        raise DataError(f"{listing.source}: {what}; {first}: mend or remove them, or leave --strict out.")
    log.warning("%s and are left out; %s", what, first)
    unreadable = {image.path for image in bad}
    rows = zip(listing.paths, listing.classes, strict=True)
    lost = set(listing.classes) - {name for path, name in rows if path not in unreadable}
    if lost:
        log.warning("no picture can be read of %s", _some(sorted(lost)))


def _refuse_clashes(paths: Sequence[Path], classes: Sequence[str], rows: Sequence[bytes], source: str) -> None:
    """Refuse one file's content under two classes."""
    first: dict[bytes, int] = {}
    clashes = []
    for i, row in enumerate(rows):
        before = first.setdefault(row, i)
        if classes[before] != classes[i]:
            clashes.append((before, i))
    if clashes:
        one, other = clashes[0]
        raise DataError(
            f"{source}: pictures under two classes: {len(clashes):,}, such as {paths[one]}, '{classes[one]}', "
            f"and {paths[other]}, '{classes[other]}', with the same bytes: keep each under one."
        )


def _check_classes(source: str, train: ImageDataset, val: ImageDataset | None, test: ImageDataset | None) -> None:
    known = Counter(train.labels.tolist())
    for split, part in (("validation", val), ("test", test)):
        counts = Counter([] if part is None else part.labels.tolist())
        foreign = [f"{train.class_names[label]} ({counts[label]:,})" for label in sorted(counts) if label not in known]
        if foreign:
            raise DataError(
                f"{source}: classes with {split} pictures but none to train on: {_some(foreign)}: "
                "give each some, or remove it."
            )
    if len(known) < 2:
        (label, count), *_ = known.items()
        raise DataError(
            f"{source} has one class alone, {train.class_names[label]} with {count:,} pictures: two or more are needed."
        )


def _small_classes_whole(train: ImageDataset, fewest: int) -> ImageDataset:
    """Give each class with fewer than ``fewest`` groups one group: it is never split."""
    if train.groups is None:
        return train
    groups, small = train.groups.copy(), []
    for label in np.unique(train.labels):
        rows = np.flatnonzero(train.labels == label)
        if len(np.unique(groups[rows])) < fewest:
            groups[rows] = groups[rows].min()
            small.append(f"{train.class_names[label]} ({len(rows):,})")
    if small:
        log.warning(
            "trained on but not tested, for want of %d pictures that do not look alike: %s", fewest, _some(small)
        )
    return replace(train, groups=groups)


def _can_be_split(train: ImageDataset) -> bool:
    pairs = set(zip(train.labels.tolist(), [] if train.groups is None else train.groups.tolist(), strict=False))
    return train.groups is None or len(pairs) > len({label for label, _ in pairs})


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
