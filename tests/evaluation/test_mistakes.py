"""Selecting mistakes and uncertain predictions."""

import numpy as np

from frostline.evaluation.metrics import confused_pairs, least_certain, worst_mistakes, worth_showing

PROBABILITIES = np.array([[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.34, 0.33, 0.33], [0.1, 0.8, 0.1], [0.0, 0.7, 0.3]])
LABELS = np.array([1, 1, 0, 0, 2])


def test_worst_mistakes_are_the_surest_ones() -> None:
    assert worst_mistakes(PROBABILITIES, LABELS).tolist() == [0, 3, 4]
    assert worst_mistakes(PROBABILITIES, LABELS, 1).tolist() == [0]


def test_least_certain_have_the_smallest_gap() -> None:
    assert least_certain(PROBABILITIES, 3).tolist() == [2, 1, 4]


def test_confused_pairs_are_the_most_frequent_first() -> None:
    probabilities = np.eye(3)[[1, 1, 2, 0]] * [[0.6], [0.9], [1.0], [1.0]]
    pairs = confused_pairs(probabilities, np.array([0, 0, 1, 0]))
    assert [(pair.truth, pair.predicted, pair.positions.tolist()) for pair in pairs] == [(0, 1, [1, 0]), (1, 2, [2])]


def test_nothing_wrong_is_nothing_confused() -> None:
    right = np.eye(3)[LABELS]
    assert not len(worst_mistakes(right, LABELS)) and not confused_pairs(right, LABELS)
    assert len(worth_showing(right, LABELS)) == 5  # the least certain
