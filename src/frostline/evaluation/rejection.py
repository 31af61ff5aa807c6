"""When a classifier should say that it does not know: a least confidence, calibrated on the validation split.

The confidence of an answer is the probability of its best class. The threshold for a share ``reject`` is the largest
number t such that at most this share of the validation images has a confidence below t: answers below t count as
unknown. So at most ``reject`` of images like those of the validation split are lost, right and wrong answers alike. It
promises nothing about images of other things: how many of them fall below t is not known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.errors import ConfigError

UNKNOWN = "unknown"
STEP = 0.005
MOST = 0.5
LEVELS = round(MOST / STEP) + 1  # 0, 0.005, … 0.5


@dataclass(frozen=True)
class Rejection:
    """Thresholds of confidence for the shares 0, 0.005, … 0.5 of the validation split.

    Parameters
    ----------
    images : int
        How many the validation split had.
    thresholds : tuple of float
        101 of them, ascending, 0 to 1.

    Raises
    ------
    ValueError
        When they cannot be such thresholds.
    """

    images: int
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.thresholds, np.float64)
        whole = values.shape == (LEVELS,) and self.images >= 1 and bool(np.isfinite(values).all())
        if not whole or (np.diff(values) < 0).any() or values[0] < 0 or values[-1] > 1:
            raise ValueError(f"expected {LEVELS} thresholds of confidence from 0 to 1, ascending, and their images")

    def threshold(self, reject: float) -> float:
        """Return the confidence below which an answer counts as unknown.

        Parameters
        ----------
        reject : float
            The share of the validation images that may be lost, 0 to 0.5; steps of 0.005, others count as the next
            smaller one.

        Raises
        ------
        ConfigError
            When it is another number.
        """
        check_share(reject)
        return self.thresholds[int(reject / STEP + 1e-6)]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"images": self.images, "thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Rejection":
        """Return what `to_dict` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            When it is damaged.
        """
        return cls(int(values["images"]), tuple(float(value) for value in values["thresholds"]))


def calibrate_rejection(probabilities: NDArray[np.floating]) -> Rejection:
    """Return the thresholds that a validation split gives.

    Parameters
    ----------
    probabilities : ndarray (N, classes)
        Of its images, calibrated as the model's answers are.
    """
    confidence = np.sort(probabilities.max(1).astype(np.float64))
    count = len(confidence)
    # Below the (k+1)-th smallest confidence there are at most k images.
    lost = [min(int(level * STEP * count + 1e-6), count - 1) for level in range(LEVELS)]
    return Rejection(count, tuple(float(min(confidence[k], 1.0)) for k in lost))


def rejected(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Return which answers (N, classes) count as unknown."""
    below: NDArray[np.bool_] = probabilities.max(1).astype(np.float64) < threshold
    return below


def named(
    probabilities: NDArray[np.floating], class_names: Sequence[str], threshold: float | None = None
) -> NDArray[np.str_]:
    """Return the name of the most probable class of each answer (N, classes), or ``"unknown"`` below a threshold."""
    names: NDArray[np.str_] = np.array(class_names)[probabilities.argmax(1)]
    return names if threshold is None else np.where(rejected(probabilities, threshold), UNKNOWN, names)


def check_share(reject: float) -> None:
    """Refuse a share that cannot be rejected.

    Raises
    ------
    ConfigError
    """
    if not 0 <= reject <= MOST:  # NaN, too
        raise ConfigError(
            f"--reject {reject:g}: expected the share of validation images that may be lost, 0 to {MOST:g}, e.g. 0.05."
        )
