"""Predictions of one split beside the truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Predictions:
    """Calibrated class probabilities, float32 (N, classes), and labels, int64 (N,), of one split."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def pair(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Both."""
        return self.probabilities, self.labels
