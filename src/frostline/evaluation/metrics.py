"""Numbers that describe predictions on a split, with the interval that chance leaves open."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.evaluation.calibration import mean_loss, reliability


def evaluate(
    probabilities: NDArray[np.floating], labels: NDArray[np.int64], class_names: Sequence[str]
) -> dict[str, Any]:
    """Measure predictions.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
        Rows sum to one.
    labels : ndarray of int64 (N,)
        The truth.
    class_names : sequence of str
        One per class.

    Returns
    -------
    dict
        ``images``, ``accuracy``, ``accuracy_ci95`` (Wilson 1927), ``loss`` (mean cross-entropy, nats),
        ``top5_accuracy``, ``f1_macro``, ``ece`` (15 bins of equal width, Guo et al. 2017, arXiv:1706.04599),
        ``per_class`` and ``confusion`` (rows = truth).
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    predicted = probabilities.argmax(1)
    classes = np.arange(len(class_names))
    right = predicted == labels
    precision, recall, f1, support = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_ci95": wilson_interval(int(right.sum()), len(labels)),
        "loss": mean_loss(probabilities, labels),
        "top5_accuracy": top_k_accuracy(probabilities, labels, 5),
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
    """Return the 95 % Wilson score interval of a share, as [low, high]."""
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def top_k_accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.int64], k: int) -> float:
    """Return the share of images whose class is among the k most probable; 1 when there are no more than k classes."""
    if probabilities.shape[1] <= k:
        return 1.0
    best = np.argpartition(-probabilities, k - 1, axis=1)[:, :k]  # (N, k)
    return float((best == labels[:, None]).any(1).mean())


def most_confused(
    confusion: Sequence[Sequence[int]], class_names: Sequence[str], count: int = 5
) -> list[tuple[str, str, int]]:
    """Return (truth, prediction, images) of the most frequent mistakes, worst first."""
    pairs = [
        (class_names[i], class_names[j], images)
        for i, row in enumerate(confusion)
        for j, images in enumerate(row)
        if i != j and images
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:count]
