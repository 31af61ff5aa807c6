"""Asynchronous successive halving over training images (Li et al. 2020, arXiv:1810.05934).

Every trial starts with few images and is promoted to more while it is in the best quarter of the trials with as many.
The resource is images, not epochs: each rung is a complete training with its own learning-rate schedule. Optuna's
``SuccessiveHalvingPruner`` promotes by the same rule, but also counts interrupted trials, so a resumed search would
differ from an uninterrupted one, and ignores the trials of studies that were started without it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frostline.data.splits import limited

SHARE = 4  # each amount is four times the one before, and the best quarter gets there
MOST_AMOUNTS = 4  # 1/64, 1/16, 1/4 and all
FEWEST_IMAGES = 500  # fewer say little about a training on many
FEWEST_PER_CLASS = 20


def amounts(images: int, classes: int) -> tuple[int, ...]:
    """Return how many images trials are trained on, one number after the other; the last is all of them."""
    found = [images]
    while len(found) < MOST_AMOUNTS and found[0] // SHARE >= max(FEWEST_IMAGES, FEWEST_PER_CLASS * classes):
        found.insert(0, found[0] // SHARE)
    return tuple(found)


def nested(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> dict[int, NDArray[np.int64]]:
    """Return positions for each number of images, stratified; the fewer are among the more."""
    positions = np.arange(len(labels))
    drawn = {}
    for count in sorted(counts, reverse=True):
        positions = positions[limited(labels[positions], count, seed)]
        drawn[count] = positions
    return drawn


def should_promote(accuracy: float, others: Sequence[float]) -> bool:
    """Whether an accuracy is among the best quarter of itself and others on as many images; the best always is."""
    best = sorted([accuracy, *others], reverse=True)
    return accuracy >= best[max(1, len(best) // SHARE) - 1]
