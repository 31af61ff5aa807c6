"""Which labels are wrong, and how many of those listed are expected to be right.

Two groups, as in Efron's local false discovery rate (2008, doi:10.1214/07-STS236): a share of the labels is wrong and
equally often any other class; the others follow the heads' probabilities at a temperature of their own. Temperature and
share are fitted to the out-of-fold probabilities by maximum likelihood, so they do not take an image that is hard for
the heads for a wrong label. The share is then lowered to the end of its one-sided 99 % profile likelihood interval: few
images or weak heads do not prove an error.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FDR = 0.2  # expected share of right labels among the listed ones
SKILL = 0.5  # of the labels that the commonest class misses
TEMPERATURES = np.geomspace(0.1, 1.25, 31)  # relative to the calibration with wrong labels, which is too flat
SHARES = np.geomspace(1e-4, 0.5, 61)
QUANTILE = 5.41  # 98 % of chi-squared with one degree of freedom: 99 % on one side
TINY = 1e-300


@dataclass(frozen=True)
class LabelNoise:
    """The fitted model.

    Attributes
    ----------
    share : float
        Most likely share of wrong labels.
    low : float
        Lower end of its 99 % interval; 0 when the labels do not prove an error.
    temperature : float
        Divides the logarithms of the probabilities.
    """

    share: float
    low: float
    temperature: float

    def p_right(self, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probability (N,) that each label is right, from probabilities (N, classes)."""
        p = _of_label(probabilities, labels, self.temperature)
        right = (1 - self.low) * p
        wrong = self.low * (1 - p) / max(probabilities.shape[1] - 1, 1)
        return np.asarray(right / np.maximum(right + wrong, TINY))


def fit_noise(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> LabelNoise:
    """Fit the model to out-of-fold probabilities (N, classes) and labels (N,)."""
    others = max(probabilities.shape[1] - 1, 1)
    p = np.stack([_of_label(probabilities, labels, float(t)) for t in TEMPERATURES])  # (T, N)
    clean = np.log(np.maximum(p, TINY)).sum(1).max()
    likelihood = np.stack(
        [np.log(np.maximum((1 - share) * p + share * (1 - p) / others, TINY)).sum(1) for share in SHARES]
    )  # (shares, T)
    profile = likelihood.max(1)
    best = int(profile.argmax())
    if 2 * (profile[best] - clean) <= QUANTILE:
        return LabelNoise(float(SHARES[best]) if profile[best] > clean else 0.0, 0.0, 1.0)
    low = int(np.flatnonzero(2 * (profile[best] - profile[: best + 1]) <= QUANTILE)[0])
    return LabelNoise(float(SHARES[best]), float(SHARES[low]), float(TEMPERATURES[likelihood[low].argmax()]))


def _of_label(probabilities: NDArray[np.float64], labels: NDArray[np.int64], temperature: float) -> NDArray[np.float64]:
    """Return the probability (N,) of each label at another temperature."""
    logs = np.log(np.maximum(probabilities, TINY)) / temperature
    own = logs[np.arange(len(labels)), labels]
    return np.asarray(np.exp(own - np.logaddexp.reduce(logs, axis=1)))


def choose(p_right: NDArray[np.float64], disagrees: NDArray[np.bool_], fdr: float) -> NDArray[np.bool_]:
    """Return the longest list (N,) of labels whose mean probability of being right is at most ``fdr``.

    Only labels that the heads disagree with are candidates; the least probable come first.
    """
    candidates = np.flatnonzero(disagrees)
    order = candidates[np.argsort(p_right[candidates], kind="stable")]
    means = np.cumsum(p_right[order]) / np.arange(1, len(order) + 1)
    chosen = np.zeros(len(p_right), bool)
    chosen[order[means <= fdr]] = True
    return chosen


def skill(agreement: float, labels: NDArray[np.int64]) -> float:
    """Return the gain over guessing the commonest class as a share of the largest possible gain.

    0 for guessing and 1 for full agreement, with any number of classes (Goodman and Kruskal's lambda, 1954).
    """
    commonest = float(np.bincount(labels).max() / len(labels))
    return (agreement - commonest) / (1 - commonest) if commonest < 1 else 0.0


def expectation(label_errors: dict[str, Any]) -> str:
    """Return in a sentence how many of the listed labels are expected to be right."""
    listed, right, fdr = label_errors["listed"], label_errors["expected_right"], label_errors["fdr"]
    if not listed:
        return f"no label stands out at a false discovery rate of {fdr:g}"
    labels = "this label is" if listed == 1 else f"these {listed:,} labels are"
    return f"about {right:.1f} of {labels} expected to be right (false discovery rate at most {fdr:g})"
