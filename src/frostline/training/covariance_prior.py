"""What changes between images of one object, as the penalty of a linear head.

Where features follow an object's place, light, texture or blur they say nothing of its class, and a few labeled
images cannot tell which features do. Images of drawn objects can: how their features vary within an object is known
before the first label, and the head pays more for leaning on it. It is within-class covariance normalization (Hatch,
Kajarekar & Stolcke 2006) with a covariance from elsewhere, as Hariharan, Malik & Ramanan 2012 take one from background
images; ``bench/prior.py`` says what it is worth.

With Z (n, F) the standardized features' deviations from their object's mean: ``P = I + Z'Z / (n t)``, where t is FLOOR
times their mean variance. Ridge then asks for the least ``|Y - X W|^2 + l tr(W'P W)``.
"""

import numpy as np
import torch
from numpy.typing import NDArray

FLOOR = 0.5


class WithinClassPenalty:
    """The penalty P.

    Parameters
    ----------
    rows : Tensor, shape (n, F)
        Standardized features.
    objects : ndarray of int, shape (n,)
        Which object each row's image shows.
    floor : float
        How much every direction varies at least, relative to the mean: the more, the less this says.
    """

    def __init__(self, rows: torch.Tensor, objects: NDArray[np.integer], floor: float = FLOOR) -> None:
        self._deviations = rows.clone()
        for number in np.unique(objects):
            own = torch.from_numpy(objects == number)
            self._deviations[own] -= rows[own].mean(0)
        # n t, and enough to divide by where no feature varies: P is the identity there
        self._floor = floor * self._deviations.square().mean() * len(rows) + 1e-12
        small = self._deviations @ self._deviations.T  # (n, n)
        small.diagonal().add_(self._floor)
        self._factor = torch.linalg.cholesky_ex(small).L

    def solved(self, x: torch.Tensor) -> torch.Tensor:
        """Return x P^-1 for x (N, F), by Woodbury's identity."""
        inner = torch.cholesky_solve(self._deviations @ x.T, self._factor)  # (n, N)
        return x - inner.T @ self._deviations

    def matrix(self) -> torch.Tensor:
        """Return P, (F, F)."""
        penalty = self._deviations.T @ self._deviations / self._floor
        penalty.diagonal().add_(1)
        return penalty
