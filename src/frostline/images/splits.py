"""Which images are trained on, which choose, and how few labels are enough: stratified and seeded."""

import numpy as np
from numpy.typing import NDArray

from frostline.errors import ConfigError, DataError

Indices = NDArray[np.int64]


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> tuple[Indices, Indices]:
    """Split rows into ``count`` drawn ones and the rest, every class in its share.

    Returns
    -------
    drawn, rest : ndarray of int64
        Row numbers in ascending order.

    Raises
    ------
    ConfigError
        When a class would be left without an image on either side.
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
    """Return ``count`` stratified rows, or all of them when there are no more."""
    return np.arange(len(labels)) if count >= len(labels) else stratified(labels, count, seed)[0]


def train_val(labels: NDArray[np.int64], fraction: float, seed: int) -> tuple[Indices, Indices]:
    """Split training rows into training and validation; see `stratified`."""
    val, train = stratified(labels, round(len(labels) * fraction), seed)
    return train, val


def per_class(labels: NDArray[np.int64], count: int, seed: int) -> Indices:
    """Return ``count`` rows of every class, drawn so that a larger count holds the smaller one's rows.

    Raises
    ------
    DataError
        When a class has fewer.
    """
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < count:
            raise DataError(f"class {label} has {len(rows)} labelled images for training, {count} were asked for.")
        chosen.append(np.random.default_rng([seed, int(label)]).permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))
