"""Selection of predictions to show: most confident mistakes, least certain predictions, most confused classes."""

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
    """Return the positions of wrong predictions, most confident first.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
    labels : ndarray of int64 (N,)
    count : int
        Largest number returned.
    """
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    order = np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")
    return wrong[order][:count]


def least_certain(probabilities: NDArray[np.floating], count: int = LEAST_CERTAIN) -> NDArray[np.int64]:
    """Return the positions with the smallest margin between the two most probable classes, smallest first."""
    best = np.partition(probabilities, -2, axis=1)[:, -2:]  # (N, 2), ascending
    return np.argsort(best[:, 1] - best[:, 0], kind="stable")[:count]


@dataclass(frozen=True, eq=False)
class ConfusedPair:
    """Images of class ``truth`` that were classified as ``predicted``, most confident first."""

    truth: int
    predicted: int
    positions: NDArray[np.int64]


def confused_pairs(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], count: int = PAIRS
) -> list[ConfusedPair]:
    """Return the most frequently confused pairs of classes, most frequent first."""
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
    """Return the positions, ascending, of everything the three functions above select, six of each confused pair."""
    pairs = [pair.positions[:PER_PAIR] for pair in confused_pairs(probabilities, labels)]
    return np.unique(np.concatenate([worst_mistakes(probabilities, labels), least_certain(probabilities), *pairs]))
