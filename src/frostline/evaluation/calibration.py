"""Whether probabilities mean what they say: how often the answers of each confidence are right."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
LEAST = 1e-12  # a probability counts as no less, in losses and logarithms


@dataclass(frozen=True, eq=False)
class Reliability:
    """Answers sorted into bins of equal width by how sure they were; means of empty bins are 0.

    Attributes
    ----------
    images : ndarray of int64, shape (15,)
    confidence : ndarray of float64, shape (15,)
        Mean probability of the answers.
    accuracy : ndarray of float64, shape (15,)
        The share of them that are right.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The mean gap between confidence and accuracy, weighted by images (Guo et al. 2017, arXiv:1706.04599)."""
        return float((np.abs(self.confidence - self.accuracy) * self.images).sum() / max(self.images.sum(), 1))


def reliability(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> Reliability:
    """Sort answers by how sure they were.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
    labels : ndarray of int64 (N,)
    """
    confidence = probabilities.max(1).astype(np.float64)
    right = probabilities.argmax(1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images, sure, good = (
        np.bincount(bins, weights=weights, minlength=BINS) for weights in (None, confidence, right.astype(np.float64))
    )
    some = np.maximum(images, 1)
    return Reliability(images.astype(np.int64), sure / some, good / some)


def mean_loss(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy, in nats."""
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(likelihood, LEAST, 1)).mean())


def uncalibrated(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return the probabilities (N, classes) as they were before logits were divided by a temperature T.

    ``softmax(z)`` is ``softmax(T log softmax(z / T))``: a constant of each row is all that the logarithm loses.
    """
    scores = temperature * np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny))
    powers = np.exp(scores - scores.max(1, keepdims=True))
    before: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return before


def before_and_after(
    temperature: float, predicted: Mapping[str, tuple[NDArray[np.floating], NDArray[np.int64]]]
) -> dict[str, Any]:
    """Say what a temperature did.

    Parameters
    ----------
    temperature : float
    predicted : mapping
        For each split the calibrated probabilities (N, classes), and the labels (N,).

    Returns
    -------
    dict
        ``temperature``, and for each split ``ece`` and ``loss``, both with ``before`` and ``after``.
    """
    facts: dict[str, Any] = {"temperature": temperature}
    for name, (after, labels) in predicted.items():
        before = uncalibrated(after, temperature)
        facts[name] = {
            "ece": {"before": reliability(before, labels).ece, "after": reliability(after, labels).ece},
            "loss": {"before": mean_loss(before, labels), "after": mean_loss(after, labels)},
        }
    return facts
