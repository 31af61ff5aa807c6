"""The ridge head: least squares on one-hot labels, fitted in closed form; validation selects the L2 strength.

A small validation split cannot rank strengths by accuracy: among those with at most one correct image fewer than the
best, the one with the least squared error is selected (bench/strength.py).

Hoerl & Kennard 1970. With features X (N, F), standardized, and targets Y (N, classes), centered:
``W = (X'X + l P)^-1 X'Y``; when N < F the same from the smaller N x N matrix, ``W = P^-1 X' (X P^-1 X' + l I)^-1 Y``.
The penalty P is the identity, or a `WithinClassPenalty`. The products are computed once; each strength then costs one
Cholesky factorization.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from frostline._utils.progress import Bar, Progress, Silent, log
from frostline.errors import ConfigError
from frostline.models.heads import Head
from frostline.training.calibration import best_temperature
from frostline.training.examples import Examples, standardized
from frostline.training.trainer import measure

STRENGTHS = tuple(10.0**power for power in range(-5, 3))  # relative to the mean diagonal of the products
REFINEMENT = 10**0.5  # factor by which the best of them is then varied, up and down
PRIOR_FLOOR = 0.5


class WithinClassPenalty:
    """A covariance prior: the penalty P on directions in which features vary within a class.

    Features that follow an object's position, light, texture or blur carry no information about its class. A few
    labeled images cannot show which features these are, but images of drawn objects can. This is within-class
    covariance normalization (Hatch, Kajarekar & Stolcke 2006) with the covariance of other images, as in Hariharan,
    Malik & Ramanan 2012; ``bench/prior.py`` measures its effect.

    With Z (n, F) the deviations of standardized features from their object's mean: ``P = I + Z'Z / (n t)``, where t is
    ``floor`` times their mean variance. Ridge then minimizes ``|Y - X W|^2 + l tr(W'P W)``.

    Parameters
    ----------
    rows : Tensor, shape (n, F)
        Standardized features.
    objects : ndarray of int, shape (n,)
        The object in each row's image.
    floor : float
        Least variance of every direction, relative to the mean: the larger, the weaker the prior.
    """

    def __init__(self, rows: torch.Tensor, objects: NDArray[np.integer], floor: float = PRIOR_FLOOR) -> None:
        self._deviations = rows.clone()
        for number in np.unique(objects):
            own = torch.from_numpy(objects == number)
            self._deviations[own] -= rows[own].mean(0)
        # n t, plus a constant to divide by if no feature varies; P is then the identity
        self._floor = floor * self._deviations.square().mean() * len(rows) + 1e-12
        gram = self._deviations @ self._deviations.T  # (n, n)
        gram.diagonal().add_(self._floor)
        self._factor = torch.linalg.cholesky_ex(gram).L

    def solve(self, x: torch.Tensor) -> torch.Tensor:
        """Return x P^-1 for x (N, F), by Woodbury's identity."""
        inner = torch.cholesky_solve(self._deviations @ x.T, self._factor)  # (n, N)
        return x - inner.T @ self._deviations

    def matrix(self) -> torch.Tensor:
        """Return P, (F, F)."""
        penalty = self._deviations.T @ self._deviations / self._floor
        penalty.diagonal().add_(1)
        return penalty


@dataclass(frozen=True)
class RidgeResult:
    """The selected strength and temperature, with the losses and accuracies they give."""

    strength: float
    temperature: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


def solve(
    head: Head,
    train: Examples,
    val: Examples,
    progress: Progress | None = None,
    *,
    prior: Examples | None = None,
    quiet: bool = False,
) -> RidgeResult:
    """Fit a standardized linear head in closed form.

    The scores of least squares are not probabilities. One temperature, fitted on validation, turns them into
    probabilities without changing any prediction (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    head : Head
        Linear, with mean and scale set.
    train, val : Examples
        Views of the training images count as further images. ``val`` selects strength and temperature.
    progress : Progress, optional
        Displays the progress.
    prior : Examples, optional
        Images of objects, labeled with the object's number, for a `WithinClassPenalty`.
    quiet : bool
        Log nothing.

    Raises
    ------
    ConfigError
        If no strength has a solution.
    """
    started = time.perf_counter()
    system = _prepare(head, train, prior, progress or Silent())
    candidates = system.candidates(head, val, STRENGTHS)
    if not candidates:
        raise ConfigError("ridge found no solution: the features are constant or not numbers; check the weights.")
    middle = _best(candidates).strength
    candidates += system.candidates(head, val, (middle / REFINEMENT, middle * REFINEMENT))
    best = _best(candidates)
    temperature = best_temperature(best.scores, torch.from_numpy(val.labels))
    with torch.no_grad():
        head.first.weight.copy_(best.weight.T / temperature)
        head.first.bias.copy_(best.bias / temperature)
    result = RidgeResult(
        best.strength, temperature, *measure(head, train), *measure(head, val), time.perf_counter() - started
    )
    if not quiet:
        log.debug(
            "ridge: L2 strength %g of %s tried, temperature %.3g  train accuracy %.4f  val loss %.4f accuracy %.4f  "
            "%.1f s",
            best.strength, len(candidates), temperature, result.train_accuracy, result.val_loss, result.val_accuracy,
            result.seconds,
        )  # fmt: skip
    return result


@dataclass(frozen=True)
class _Candidate:
    """A solution and its scores on the validation rows."""

    strength: float
    weight: torch.Tensor  # (F, classes)
    bias: torch.Tensor  # (classes,)
    scores: torch.Tensor  # (N, classes)
    correct: float  # validation rows, by the weights of their classes
    error: float  # squared, mean, likewise


@dataclass(frozen=True)
class _System:
    """The products of the normal equations, shared by all strengths."""

    gram: torch.Tensor  # products between rows (N, N), or between features (F, F)
    right: torch.Tensor  # (N, classes) or (F, classes)
    mean: torch.Tensor  # of the features (F,)
    center: torch.Tensor  # of the one-hot labels (classes,)
    penalty: torch.Tensor | None = None  # (F, F); None: the identity
    rows: torch.Tensor | None = None  # (N, F): maps a solution for rows to one for features

    def candidates(self, head: Head, val: Examples, strengths: Iterable[float]) -> list[_Candidate]:
        """Return the solution of each strength, scored on the validation rows in one pass."""
        solutions = {strength: self._weight(strength) for strength in strengths}
        weights = {strength: weight for strength, weight in solutions.items() if weight is not None}
        if not weights:
            return []
        stacked = torch.cat(list(weights.values()), dim=1)  # (F, solutions * classes)
        together = torch.cat([x @ stacked for x in standardized(head, val)])  # (N, solutions * classes)
        labels, importance = torch.from_numpy(val.labels), val.weights
        targets = F.one_hot(labels, head.spec.classes)
        candidates = []
        for (strength, weight), part in zip(
            weights.items(), torch.split(together, head.spec.classes, dim=1), strict=True
        ):
            bias = self.center - self.mean @ weight
            scores = part + bias
            correct = (importance * (scores.argmax(1) == labels)).sum().item()
            error = (importance[:, None] * (scores - targets).square()).mean().item()
            candidates.append(_Candidate(strength, weight, bias, scores, correct, error))
        return candidates

    def _weight(self, strength: float) -> torch.Tensor | None:
        """Return the weights (F, classes), or None if the matrix is not positive definite after rounding."""
        matrix, strength = self.gram.clone(), strength * self.gram.diagonal().mean().item()
        if self.penalty is None:
            matrix.diagonal().add_(strength)
        else:
            matrix.add_(self.penalty, alpha=strength)
        factor, fault = torch.linalg.cholesky_ex(matrix)
        if fault:
            return None
        solution = torch.cholesky_solve(self.right, factor)
        return solution if self.rows is None else self.rows.T @ solution


def _prepare(head: Head, train: Examples, prior: Examples | None, progress: Progress) -> _System:
    views = [train.in_epoch(number) for number in range(1 + len(train.views))]
    count = len(train) * len(views)  # N
    targets = F.one_hot(torch.from_numpy(train.labels), head.spec.classes).float()
    importance = train.weights / train.weights.mean()
    center = (importance[:, None] * targets).mean(0)
    # Scaled by the square root of its importance, a row counts as often in the products.
    importance = importance.sqrt()[:, None].repeat(len(views), 1)  # (N, 1)
    targets = (targets - center).repeat(len(views), 1) * importance  # (N, classes)
    penalty = WithinClassPenalty(torch.cat(list(standardized(head, prior))), prior.labels) if prior else None
    with progress.bar("ridge", count, "rows") as bar:
        if count < head.spec.features:
            return _row_system(head, views, targets, importance, center, penalty, bar)
        return _feature_system(head, views, targets, importance, center, penalty, bar)


def _row_system(
    head: Head,
    views: Sequence[Examples],
    targets: torch.Tensor,
    importance: torch.Tensor,
    center: torch.Tensor,
    penalty: WithinClassPenalty | None,
    bar: Bar,
) -> _System:
    """Return the products between rows."""
    parts = []
    for x in standardized(head, *views):
        parts.append(x)
        bar.advance(len(x))
    rows = torch.cat(parts)  # (N, F)
    mean = (importance.square() * rows).mean(0)  # (F,)
    rows = (rows - mean) * importance
    penalized = penalty.solve(rows) if penalty else rows
    return _System(rows @ penalized.T, targets, mean, center, rows=penalized)


def _feature_system(
    head: Head,
    views: Sequence[Examples],
    targets: torch.Tensor,
    importance: torch.Tensor,
    center: torch.Tensor,
    penalty: WithinClassPenalty | None,
    bar: Bar,
) -> _System:
    """Return the products between features, summed over batches."""
    width = head.spec.features
    gram, right = torch.zeros(width, width), torch.zeros(width, targets.shape[1])
    total = torch.zeros(width)
    start = 0
    for x in standardized(head, *views):
        part = slice(start, start + len(x))
        weighted = x * importance[part]
        gram.addmm_(weighted.T, weighted)
        right.addmm_(weighted.T, targets[part])
        total += (weighted * importance[part]).sum(0)
        start += len(x)
        bar.advance(len(x))
    mean = total / start
    gram.addr_(mean, mean, alpha=-float(start))  # equals centering every row
    return _System(gram, right, mean, center, penalty=penalty.matrix() if penalty else None)


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the candidate with the least squared error among those at most one image behind the most accurate."""
    most = max(candidate.correct for candidate in candidates)
    close = [candidate for candidate in candidates if candidate.correct >= most - 1]
    return min(close, key=lambda candidate: candidate.error)
