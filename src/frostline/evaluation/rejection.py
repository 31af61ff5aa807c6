"""Rejection of uncertain predictions: a confidence threshold calibrated on the validation split.

The confidence of a prediction is the probability of its class. The threshold for a proportion ``reject`` is the largest
number t such that at most this proportion of the validation images has a confidence below t; predictions below t count
as unknown. So at most ``reject`` of images like the validation split are rejected, correct and wrong predictions alike.
There is no guarantee for images of other things: the proportion of them below t is unknown.
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
    """Confidence thresholds for the proportions 0, 0.005, … 0.5 of the validation split.

    Raises
    ------
    ValueError
        If the thresholds are not 101 ascending numbers from 0 to 1.
    """

    images: int  # size of the validation split
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        values = np.asarray(self.thresholds, np.float64)
        valid = values.shape == (LEVELS,) and self.images >= 1 and bool(np.isfinite(values).all())
        if not valid or (np.diff(values) < 0).any() or values[0] < 0 or values[-1] > 1:
            raise ValueError(f"expected {LEVELS} ascending confidence thresholds from 0 to 1, and the number of images")

    def threshold(self, reject: float) -> float:
        """Return the confidence below which a prediction counts as unknown.

        Parameters
        ----------
        reject : float
            Proportion of the validation images that may be rejected, 0 to 0.5, rounded down to a step of 0.005.

        Raises
        ------
        ConfigError
            If ``reject`` is not from 0 to 0.5.
        """
        check_share(reject)
        return self.thresholds[int(reject / STEP + 1e-6)]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary of JSON values."""
        return {"images": self.images, "thresholds": list(self.thresholds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Rejection":
        """Invert `to_dict`; raise ValueError, TypeError or KeyError if the values are invalid."""
        return cls(int(values["images"]), tuple(float(value) for value in values["thresholds"]))


def calibrate_rejection(probabilities: NDArray[np.floating]) -> Rejection:
    """Return the thresholds for calibrated probabilities (N, classes) of a validation split."""
    confidence = np.sort(probabilities.max(1).astype(np.float64))
    count = len(confidence)
    # Below the (k+1)-th smallest confidence there are at most k images.
    lost = [min(int(level * STEP * count + 1e-6), count - 1) for level in range(LEVELS)]
    return Rejection(count, tuple(float(min(confidence[k], 1.0)) for k in lost))


def rejected(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.bool_]:
    """Return which predictions (N, classes) are below a threshold, bool (N,)."""
    below: NDArray[np.bool_] = probabilities.max(1).astype(np.float64) < threshold
    return below


def named(
    probabilities: NDArray[np.floating], class_names: Sequence[str], threshold: float | None = None
) -> NDArray[np.str_]:
    """Return the most probable class's name for each row (N, classes), or ``"unknown"`` below a threshold."""
    names: NDArray[np.str_] = np.array(class_names)[probabilities.argmax(1)]
    return names if threshold is None else np.where(rejected(probabilities, threshold), UNKNOWN, names)


def check_share(reject: float) -> None:
    """Check that a proportion to reject is from 0 to 0.5.

    Raises
    ------
    ConfigError
    """
    if not 0 <= reject <= MOST:  # also NaN
        raise ConfigError(
            f"--reject {reject:g}: expected the proportion of validation images to reject, 0 to {MOST:g}, such as 0.05."
        )
