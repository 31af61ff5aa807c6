"""Calibration of probabilities: reliability diagram, expected calibration error, and the effect of a temperature."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
FEWEST_BINS, IMAGES_PER_BIN = 3, 15  # of a diagram
LEAST = 1e-12  # probabilities are clipped to this in the loss


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predictions in bins of equal width by confidence; means of empty bins are 0.

    Attributes
    ----------
    images : ndarray of int64, shape (bins,)
    confidence : ndarray of float64, shape (bins,)
        Mean probability of the predicted class.
    accuracy : ndarray of float64, shape (bins,)
        Proportion of correct predictions.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def ece(self) -> float:
        """The mean gap between confidence and accuracy, weighted by images (Guo et al. 2017, arXiv:1706.04599)."""
        return float((np.abs(self.confidence - self.accuracy) * self.images).sum() / max(self.images.sum(), 1))


def reliability(probabilities: NDArray[np.floating], labels: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Group predictions, as probabilities (N, classes), by their confidence."""
    confidence = probabilities.max(1).astype(np.float64)
    correct = probabilities.argmax(1) == labels
    members = np.minimum((confidence * bins).astype(int), bins - 1)
    images, confidences, corrects = (
        np.bincount(members, weights=weights, minlength=bins)
        for weights in (None, confidence, correct.astype(np.float64))
    )
    filled = np.maximum(images, 1)
    return Reliability(images.astype(np.int64), confidences / filled, corrects / filled)


def diagram_bins(images: int) -> int:
    """Return the number of bins of a diagram: 15, and fewer below 225 images, so that they are not nearly empty."""
    return min(BINS, max(FEWEST_BINS, images // IMAGES_PER_BIN))


def mean_loss(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy, in nats.

    scikit-learn's ``log_loss`` clips at the epsilon of the data type, 1.2e-7 for float32, which would change losses.
    """
    likelihood = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(likelihood, LEAST, 1)).mean())


def uncalibrated(probabilities: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (N, classes) before the logits were divided by a temperature T.

    ``softmax(z)`` equals ``softmax(T log softmax(z / T))``: the logarithm loses only a constant of each row.
    """
    from scipy.special import softmax

    scores = temperature * np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float64).tiny))
    before: NDArray[np.float64] = softmax(scores, axis=1)
    return before


def before_and_after(
    temperature: float, predicted: Mapping[str, tuple[NDArray[np.floating], NDArray[np.int64]]]
) -> dict[str, Any]:
    """Return calibration error and loss of each split before and after a temperature.

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
