"""Draw splits and subsets: stratified, seeded, groups of similar images kept together."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline._utils.hashing import digest_bytes
from frostline.errors import ConfigError, DataError

FLAT = bytes(8)  # the hash of an image that never gets brighter from left to right: it identifies nothing


def difference_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Return 64 bits that an image keeps when it is resized, compressed or turned gray.

    Each bit says whether a pixel of the 9 x 8 thumbnail is brighter than its left neighbor (the "dHash" of N. Krawetz,
    hackerfactor.com, 2013).

    Parameters
    ----------
    pixels : ndarray of uint8, (H, W) or (H, W, 3)
    """
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def group_numbers(classes: Sequence[str], row_ids: Sequence[bytes], hashes: Sequence[bytes]) -> NDArray[np.int64]:
    """Return one number per image, the same for images of one class with the same difference hash.

    The number depends only on class and image, not on the other images.
    """
    return np.array(
        [
            _number(c, row if digest == FLAT else digest)
            for c, row, digest in zip(classes, row_ids, hashes, strict=True)
        ],
        np.int64,
    )


def merge_groups(similar: NDArray[np.int64], groups: Sequence[str | None] | None) -> NDArray[np.int64]:
    """Return one number per image, the same for images that are similar (`group_numbers`) or share a group.

    The relations are combined: when A is similar to B, and B is in C's group, A stays with C. An image may have no
    group (``None``).
    """
    if groups is None:
        return similar
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        parents.setdefault(number, number)
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    first: dict[str, int] = {}
    numbers = similar.tolist()
    for number, group in zip(numbers, groups, strict=True):
        if group is not None:
            low, high = sorted((root(number), root(first.setdefault(group, number))))
            parents[high] = low
    return np.array([root(number) for number in numbers], np.int64)


def _number(name: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode() + b"\0" + key, digest_size=8).digest(), "little", signed=True)


Indices = NDArray[np.int64]


def evenly(labels: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Return all positions in a random order whose every beginning has as many of each class as possible."""
    order = draw.permutation(len(labels))
    rank = np.empty(len(labels), np.int64)  # within the class
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    return order[np.argsort(rank[order], kind="stable")]


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> tuple[Indices, Indices]:
    """Draw ``count`` rows, each class in proportion; return the drawn and the remaining row numbers, ascending.

    Raises
    ------
    ConfigError
        When a class would have no image on one side.
    """
    from sklearn.model_selection import StratifiedShuffleSplit

    classes, sizes = np.unique(labels, return_counts=True)
    if count < len(classes) or len(labels) - count < len(classes) or sizes.min() < 2:
        raise ConfigError(
            f"cannot draw {count:,} of {len(labels):,} images with every one of {len(classes)} classes on both sides "
            f"(the smallest class has {sizes.min()}): ask for a number between {len(classes)} and "
            f"{len(labels) - len(classes):,}, with at least two images of every class."
        )
    splitter = StratifiedShuffleSplit(n_splits=1, train_size=count, random_state=seed % 2**32)
    drawn, rest = next(splitter.split(np.zeros(len(labels)), labels))
    return np.sort(drawn).astype(np.int64), np.sort(rest).astype(np.int64)


def limited(labels: NDArray[np.int64], count: int, seed: int) -> Indices:
    """Return ``count`` stratified rows, or all when there are fewer; the only row of a class is always drawn."""
    if count >= len(labels):
        return np.arange(len(labels))
    single = np.bincount(labels)[labels] == 1
    others = np.flatnonzero(~single)
    drawn = stratified(labels[others], count - int(single.sum()), seed)[0]
    return np.sort(np.concatenate([others[drawn], np.flatnonzero(single)]))


def train_val(
    labels: NDArray[np.int64], fraction: float, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[Indices, Indices]:
    """Split training rows into training and validation; a class of one row stays in training.

    With ``groups`` the rows of a group stay together (`by_group`); else see `stratified`.
    """
    if groups is not None:
        val, train = by_group(labels, groups, fraction, seed)
        return train, val
    several = np.flatnonzero(np.bincount(labels)[labels] > 1)
    val = several[stratified(labels[several], round(len(labels) * fraction), seed)[0]]
    return np.setdiff1d(np.arange(len(labels)), val), val


def by_group(
    labels: NDArray[np.int64], groups: NDArray[np.int64], share: float, seed: int, keep: int = 1
) -> tuple[Indices, Indices]:
    """Draw a share of the rows of each class, entire groups only; return drawn and remaining row numbers, ascending.

    A digest of seed and group decides the order, so adding images moves few others. A group may hold images of several
    classes: it is drawn when it fits the share of each of them. At least one group of each class is drawn, unless that
    would leave fewer than ``keep`` groups.
    """
    members = _members(labels, groups)
    order = sorted(members, key=lambda number: digest_bytes(f"{seed} {number}".encode()))
    spare, left = Counter[int](), Counter[int]()  # groups and rows that each class can still give
    for counts in members.values():
        spare.update(counts.keys())
        left.update(counts)
    spare = Counter({label: number - keep for label, number in spare.items()})
    left = Counter({label: max(1, round(share * rows)) for label, rows in left.items()})
    chosen, covered = set[int](), set[int]()

    def draw(number: int) -> None:
        chosen.add(number)
        covered.update(members[number])
        spare.subtract(members[number].keys())
        left.subtract(members[number])

    for number in order:
        if all(spare[label] > 0 and rows <= left[label] for label, rows in members[number].items()):
            draw(number)
    for label in sorted(left):
        if label in covered:
            continue
        # Every group of the class exceeds the share, or contains another class whose share is used up.
        candidates = [n for n in order if label in members[n] and all(spare[c] > 0 for c in members[n])]
        if candidates:
            draw(min(candidates, key=lambda number: members[number].total()))
    drawn = np.isin(groups, np.fromiter(chosen, np.int64, len(chosen)))
    return np.flatnonzero(drawn), np.flatnonzero(~drawn)


def drawable(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> bool:
    """Whether `by_group` can draw anything: a group whose classes all have another one."""
    members = _members(labels, groups)
    groups_per_class = Counter(label for counts in members.values() for label in counts)
    return any(all(groups_per_class[label] > 1 for label in counts) for counts in members.values())


def _members(labels: NDArray[np.int64], groups: NDArray[np.int64]) -> dict[int, Counter[int]]:
    """Count the rows of each class in each group."""
    found: dict[int, Counter[int]] = {}
    pairs, counts = np.unique(np.stack([groups, labels]), axis=1, return_counts=True)
    for group, label, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
        found.setdefault(group, Counter())[label] = count
    return found


def per_class(labels: NDArray[np.int64], count: int, seed: int) -> Indices:
    """Return ``count`` rows of each class; the rows of a smaller count are among those of a larger one.

    Raises
    ------
    DataError
        When a class has fewer.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise DataError(f"class {label} has {len(rows)} labeled images for training, but {count} are required.")
        chosen.append(np.random.default_rng([seed, int(label)]).permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))
