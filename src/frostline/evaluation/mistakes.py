"""Which predictions are worth a look: the worst mistakes, the least certain answers, the classes that are confused."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORST = 24
LEAST_CERTAIN = 24
PAIRS = 6
PER_PAIR = 6


def worst_mistakes(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], count: int = WORST
) -> NDArray[np.int64]:
    """Return the positions of the wrong answers that were surest, surest first.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
    labels : ndarray of int64 (N,)
    count : int
        At most so many.
    """
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    order = np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")
    return wrong[order][:count]


def least_certain(probabilities: NDArray[np.floating], count: int = LEAST_CERTAIN) -> NDArray[np.int64]:
    """Return the positions whose two best classes are closest, closest first."""
    best = np.partition(probabilities, -2, axis=1)[:, -2:]  # (N, 2), ascending
    return np.argsort(best[:, 1] - best[:, 0], kind="stable")[:count]


@dataclass(frozen=True, eq=False)
class ConfusedPair:
    """One kind of mistake: images of class ``truth`` that were called ``predicted``, surest first."""

    truth: int
    predicted: int
    positions: NDArray[np.int64]


def confused_pairs(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], count: int = PAIRS
) -> list[ConfusedPair]:
    """Return the most frequent kinds of mistakes, the most frequent first."""
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    kinds, images = np.unique(np.stack([labels[wrong], predicted[wrong]]), axis=1, return_counts=True)
    pairs = []
    for kind in np.argsort(-images, kind="stable")[:count]:
        truth, answer = kinds[:, kind]
        members = wrong[(labels[wrong] == truth) & (predicted[wrong] == answer)]
        order = np.argsort(-probabilities[members, answer], kind="stable")
        pairs.append(ConfusedPair(int(truth), int(answer), members[order]))
    return pairs


def worth_showing(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions, ascending, of all that the three functions above name: six of each confused pair."""
    pairs = [pair.positions[:PER_PAIR] for pair in confused_pairs(probabilities, labels)]
    return np.unique(np.concatenate([worst_mistakes(probabilities, labels), least_certain(probabilities), *pairs]))
