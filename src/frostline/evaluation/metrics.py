"""Metrics of the predictions on a split, with the confidence interval of the accuracy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.evaluation.calibration import mean_loss, reliability

TOP = 5  # top-k accuracy


@dataclass(frozen=True, eq=False)
class Predictions:
    """Calibrated class probabilities, float32 (N, classes), and labels, int64 (N,), of one split."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def pair(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Probabilities and labels."""
        return self.probabilities, self.labels


def evaluate(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, Any]:
    """Compute the metrics of predictions.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
    labels : ndarray of int64 (N,)
    class_names : sequence of str

    Returns
    -------
    dict
        ``images``, ``accuracy``, ``accuracy_ci95`` (Wilson 1927), ``loss`` (mean cross-entropy, nats),
        ``top5_accuracy`` (1 with five classes or fewer), ``balanced_accuracy`` (mean recall of the classes that occur),
        ``f1_macro``, ``ece`` (15 bins of equal width, Guo et al. 2017, arXiv:1706.04599), ``per_class`` and
        ``confusion`` (rows = true class).
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, top_k_accuracy_score

    predicted = probabilities.argmax(1)
    classes = np.arange(len(class_names))
    right = predicted == labels
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_ci95": wilson_interval(int(right.sum()), len(labels)),
        "loss": mean_loss(probabilities, labels),
        "top5_accuracy": (
            float(top_k_accuracy_score(labels, probabilities, k=TOP, labels=classes)) if len(classes) > TOP else 1.0
        ),
        "balanced_accuracy": float(recall[support > 0].mean()),
        "f1_macro": float(f1[support > 0].mean()),
        "ece": reliability(probabilities, labels).ece,
        "per_class": {
            name: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "support": int(support[i]),
            }
            for i, name in enumerate(class_names)
        },
        "confusion": confusion_matrix(labels, predicted, labels=classes).tolist(),
    }


def wilson_interval(right: int, total: int) -> list[float]:
    """Return the 95 % Wilson score interval of a proportion, as [low, high]."""
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def logit_interval(mean: float, half_width: float) -> tuple[float, float]:
    """Return an interval (low, high) of a proportion, symmetric on the logit scale, so that it never leaves 0 to 1.

    Parameters
    ----------
    mean : float
        From 0 to 1; 0 and 1 have no spread.
    half_width : float
        Half the width of the interval on the scale of the proportion itself; it is divided by the slope of its inverse
        logit (delta method). NaN gives NaN.
    """
    from scipy.special import expit, logit

    if half_width == 0 or math.isnan(half_width):
        return mean + half_width, mean + half_width
    middle, half = logit(mean), half_width / (mean * (1 - mean))
    return float(expit(middle - half)), float(expit(middle + half))


def most_confused(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], count: int = 5
) -> list[tuple[str, str, int]]:
    """Return (true class, predicted class, images) of the most frequent mistakes, most frequent first."""
    pairs = [
        (class_names[i], class_names[j], images)
        for i, row in enumerate(confusion)
        for j, images in enumerate(row)
        if i != j and images
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]


WORST = 24
LEAST_CERTAIN = 24
PAIRS = 6
PER_PAIR = 6


def worst_mistakes(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], count: int = WORST
) -> NDArray[np.int64]:
    """Return the positions of up to ``count`` wrong predictions, most confident first."""
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
    for truth, guess in kinds[:, np.argsort(-images, kind="stable")[:count]].T:
        members = wrong[(labels[wrong] == truth) & (predicted[wrong] == guess)]
        order = np.argsort(-probabilities[members, guess], kind="stable")
        pairs.append(ConfusedPair(int(truth), int(guess), members[order]))
    return pairs


def worth_showing(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions, ascending, of the worst, the least certain and six of each pair's confused predictions."""
    pairs = [pair.positions[:PER_PAIR] for pair in confused_pairs(probabilities, labels)]
    return np.unique(np.concatenate([worst_mistakes(probabilities, labels), least_certain(probabilities), *pairs]))
