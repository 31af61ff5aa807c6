"""Turn the image files that a folder or table lists into checked splits."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from frostline._utils.progress import log
from frostline.data.dataset import BadImage, ImageDataset, Splits
from frostline.data.decoding.decode import MAX_PIXELS
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.levels import choose_levels, describe_oddities, describe_scales
from frostline.data.names import SPLITS, first_few, natural_order, normalize_class_names, unprintable
from frostline.data.scan_file import ScannedFile
from frostline.data.splits import by_group, drawable, group_numbers, merge_groups
from frostline.errors import DataError

TEST_FRACTION = 0.15


@dataclass(frozen=True)
class SourceOptions:
    """Options for reading a folder, table or file of arrays.

    Parameters
    ----------
    path_column, label_column, split_column, group_column : str, optional
        Names of a table's columns. Default: the usual names.
    root : Path, optional
        Folder that a table's paths start from. Default: the table's folder.
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
        """The options in use that apply to tables only, as spelled on the command line."""
        return [
            f"--{field.name.replace('_', '-')}"
            for field in fields(self)
            if field.name != "test_fraction" and getattr(self, field.name) is not None
        ]


DEFAULTS = SourceOptions()
TEST_SEED = 0  # not the run's seed: the test split is the same for all runs
CLASHES_NAMED = 3

Scan = Callable[[Sequence[Path]], list[ScannedFile]]


class ClashError(DataError):
    """The same file content is in two classes.

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
        Class name of each, as spelled there.
    splits : tuple of str or None
        ``train``, ``val`` or ``test`` for each; ``None`` where it is not stated, which counts as ``train``.
    source : str
        The folder or table, for messages.
    groups : tuple of str or None, optional
        Group of each image (a patient, a video), whose images share a split; ``None`` for images without a group.
    bad : tuple of BadImage
        Folders, links and rows that cannot be read.
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
    decoded: DecodedImages | None = None,
) -> Splits:
    """Scan the listed files and return the readable ones as splits; missing splits are drawn (`complete`).

    With ``strict`` a file or folder that cannot be read is an error; otherwise it is left out. ``decoded`` has the
    images that ``scan`` has decoded.

    Raises
    ------
    DataError
        When there are no images, fewer than two classes, the same file in two classes (`ClashError`), classes that
        training lacks, or a group in two splits; with ``strict`` when an image cannot be read.
    """
    files = scan(listing.paths)
    bad = listing.bad + tuple(
        BadImage(path, file.reason) for path, file in zip(listing.paths, files, strict=True) if file.reason is not None
    )
    _report_bad(bad, listing, strict=strict)
    readable = [i for i, file in enumerate(files) if file.reason is None]
    stated = [listing.splits[i] or "train" for i in readable]
    groups = None if listing.groups is None else [listing.groups[i] for i in readable]
    images = replace(_dataset(listing, files, readable, groups), max_pixels=max_pixels, decoded=decoded)
    _check_groups(groups, stated, listing.source)
    tones = [files[i].tones for i in readable]
    for line in describe_scales(tones, images.levels):
        log.info("%s: %s", listing.source, line)
    for line in describe_oddities(tones, stated, [listing.paths[i] for i in readable]):
        log.warning("%s: %s", listing.source, line)
    parts = {}
    for split in SPLITS:
        members = np.flatnonzero([one == split for one in stated])
        parts[split] = images.subset(members) if len(members) else None
    splits = complete(
        name, listing.source, parts["train"], parts["val"], parts["test"], bad, test_fraction=test_fraction
    )
    return replace(splits, blank=tuple(listing.paths[i] for i in readable if files[i].tones.flat))


def _dataset(
    listing: Listing,
    files: Sequence[ScannedFile],
    readable: Sequence[int],
    groups: Sequence[str | None] | None,
) -> ImageDataset:
    """Return the readable files of all splits as one data set, classes in natural order."""
    paths, rows = [listing.paths[i] for i in readable], [files[i].row_id for i in readable]
    classes = normalize_class_names([listing.classes[i] for i in readable], listing.source)
    _check_clashes(paths, classes, rows, listing.source)
    class_names = natural_order(classes)
    invalid = unprintable(class_names)
    if invalid:
        raise DataError(f"{listing.source}: the class {invalid[0]!r} cannot be printed: rename it.")
    numbers = {class_name: number for number, class_name in enumerate(class_names)}
    row_of = dict(zip(paths, rows, strict=True))
    similar = group_numbers(classes, rows, [files[i].difference_hash for i in readable])
    return ImageDataset(
        tuple(paths),
        np.array([numbers[class_name] for class_name in classes], np.int64),
        tuple(class_names),
        identify=lambda wanted: [row_of[path] for path in wanted],
        groups=merge_groups(similar, groups),
        longest_side=max((files[i].side for i in readable), default=None),
        levels=choose_levels([files[i].tones for i in readable]),
    )


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
    """Return splits; a missing test split is drawn from ``train``, ``test_fraction`` of each class.

    Images of one group (``train.groups``) stay together. A class too small to fill the missing splits stays entirely in
    training, also when a run draws its validation split. With a ``test_fraction`` of 0 the test split is empty.

    Raises
    ------
    DataError
        When training has fewer than two classes, or lacks one that ``val`` or ``test`` has, or nothing can be drawn.
    """
    if train is None or not len(train):
        raise DataError(f"{source} has no readable training images: add some to each class.")
    _check_classes(source, train, val, test)
    drawn = test is None and test_fraction > 0
    missing = (val is None) + drawn
    if missing:
        train = _keep_small_classes_together(train, missing + 1)
    if drawn and train.groups is not None:
        tested, rest = by_group(train.labels, train.groups, test_fraction, TEST_SEED, keep=missing)
        train, test = train.subset(rest), train.subset(tested)
    elif test is None and not drawn:
        log.warning("%s: no test split (--test-fraction 0): accuracy on new images will not be measured", source)
        test = train.subset(np.array([], np.int64))
    can_draw_val = train.groups is None or drawable(train.labels, train.groups)
    if test is None or (drawn and not len(test)) or (val is None and not can_draw_val):
        hint = " To train without a test split: --test-fraction 0." if drawn else ""
        raise DataError(
            f"{source} has too few images to draw the missing splits: {len(train) + len(test or ()):,} in "
            f"{len(train.class_names)} classes; some class needs {missing + 1} or more that are not similar.{hint}"
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
        raise DataError(f"{listing.source}: {what}; {first}: repair or remove them, or omit --strict.")
    log.warning("%s and are left out; %s", what, first)
    unreadable = {image.path for image in bad}
    rows = zip(listing.paths, listing.classes, strict=True)
    lost = set(listing.classes) - {name for path, name in rows if path not in unreadable}
    if lost:
        log.warning("no readable image of %s", first_few(natural_order(lost)))


def _check_clashes(paths: Sequence[Path], classes: Sequence[str], rows: Sequence[bytes], source: str) -> None:
    """Raise an error when the same file content is in two classes."""
    first: dict[bytes, int] = {}
    clashes = []
    for i, row in enumerate(rows):
        earlier = first.setdefault(row, i)
        if classes[earlier] != classes[i]:
            clashes.append((earlier, i))
    if not clashes:
        return
    pairs = [(BadImage(paths[a], classes[a]), BadImage(paths[b], classes[b])) for a, b in clashes]
    shown = [f"{a.shown_path} ({a.reason}) and {b.shown_path} ({b.reason})" for a, b in pairs]
    raise ClashError(
        f"{source}: {len(clashes):,} files are in two classes with the same content: "
        f"{first_few(shown, CLASHES_NAMED)}: keep each in one. `frostline data check {source}` lists all.",
        pairs,
    )


def _check_groups(groups: Sequence[str | None] | None, splits: Sequence[str], source: str) -> None:
    """Raise an error when a group is listed in two splits."""
    split_of: dict[str, str] = {}
    divided = []
    for group, split in zip(groups or (), splits, strict=False):
        if group is not None and split_of.setdefault(group, split) != split:
            divided.append(f"{group} ({split_of[group]} and {split})")
    if divided:
        shown = first_few(list(dict.fromkeys(divided)))
        raise DataError(f"{source}: groups in two splits: {shown}: give each group one split.")


def _check_classes(source: str, train: ImageDataset, val: ImageDataset | None, test: ImageDataset | None) -> None:
    known = Counter(train.labels.tolist())
    for split, part in (("validation", val), ("test", test)):
        counts = Counter([] if part is None else part.labels.tolist())
        untrained = [
            f"{train.class_names[label]} ({counts[label]:,})" for label in sorted(counts) if label not in known
        ]
        if untrained:
            raise DataError(
                f"{source}: classes with {split} images but no training images: {first_few(untrained)}: "
                "add some, or remove the class."
            )
    if len(known) < 2:
        (label, count), *_ = known.items()
        raise DataError(
            f"{source} has only one class, {train.class_names[label]} with {count:,} images: two or more are needed."
        )


def _keep_small_classes_together(train: ImageDataset, fewest: int) -> ImageDataset:
    """Merge the groups of each class that has fewer than ``fewest`` of them, so that it is never split."""
    if train.groups is None:
        return train
    groups, small = train.groups.copy(), dict[int, str]()
    changed = True
    while changed:  # a group may hold images of other classes, which then have fewer groups themselves
        changed = False
        for label in np.unique(train.labels).tolist():
            rows = train.labels == label
            members = np.unique(groups[rows])
            if len(members) < fewest:
                small[label] = f"{train.class_names[label]} ({int(rows.sum()):,})"
                if len(members) > 1:
                    groups[np.isin(groups, members)] = members[0]
                    changed = True
    if small:
        shown = first_few([small[label] for label in sorted(small)])
        log.warning("in training only, with fewer than %d images that are not similar: %s", fewest, shown)
    return replace(train, groups=groups)
