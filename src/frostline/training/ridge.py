"""The ridge head: least squares on one-hot labels, solved in closed form; the L2 strength is chosen on validation.

Few validation images cannot tell strengths apart by how many they get right: of those that get at most one fewer
right than the best, the one with the least squared error is taken (bench/strength.py).

Hoerl & Kennard 1970. With features X (N, F), standardized, and targets Y (N, classes), centered:
``W = (X'X + l P)^-1 X'Y``; when N < F the same from the smaller N x N matrix, ``W = P^-1 X' (X P^-1 X' + l I)^-1 Y``.
The penalty P is the identity, or says what is known beforehand (`frostline.training.covariance_prior`).
The products are made once; each strength then costs one Cholesky factorization.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812

from frostline._utils.progress import Bar, Progress, Silent, log
from frostline.errors import ConfigError
from frostline.models.heads import Head
from frostline.training.calibration import best_temperature
from frostline.training.covariance_prior import WithinClassPenalty
from frostline.training.examples import Examples
from frostline.training.trainer import EVALUATION_BATCH, measure

STRENGTHS = tuple(10.0**power for power in range(-5, 3))  # relative to the mean diagonal of the products
BETWEEN = 10**0.5  # then the best of these is tried so many times weaker and stronger


@dataclass(frozen=True)
class _Candidate:
    """A solution, and what it says of the validation rows."""

    strength: float
    weight: torch.Tensor  # (F, classes)
    bias: torch.Tensor  # (classes,)
    scores: torch.Tensor  # (N, classes)
    right: int
    error: float  # squared, mean


@dataclass(frozen=True)
class Solved:
    """What was chosen on validation, and what it cost."""

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
) -> Solved:
    """Fill a standardized linear head with the ridge solution.

    Scores of least squares are no probabilities; one temperature, fitted on validation, makes them so (Guo et al. 2017,
    arXiv:1706.04599) without changing any decision.

    Parameters
    ----------
    head : Head
        Linear, its mean and scale already fixed.
    train, val : Examples
        Further views of the training images count as further images. Strength and temperature are chosen on
        ``val``.
    progress : Progress, optional
        Draws the bar.
    prior : Examples, optional
        Images of some objects, each labeled with its object's number: how a feature varies within an object counts
        against it.
    quiet : bool
        Log nothing.

    Raises
    ------
    ConfigError
        When no strength gives a solution.
    """
    begun = time.perf_counter()
    seen = [train.in_epoch(number) for number in range(1 + len(train.views))]
    count = len(train) * len(seen)  # N
    targets = F.one_hot(torch.from_numpy(train.labels), head.spec.classes).float()
    center = targets.mean(0)  # (classes,)
    targets = (targets - center).repeat(len(seen), 1)  # (N, classes)
    within = WithinClassPenalty(torch.cat(list(_standardized(head, prior))), prior.labels) if prior else None
    with (progress or Silent()).bar("ridge", count, "rows") as bar:
        prepared = _small if count < head.spec.features else _large
        system = prepared(head, seen, targets, within, bar)

    def tried(strengths: Iterable[float]) -> list[_Candidate]:
        solutions = {strength: system.weight(strength) for strength in strengths}
        weights = {strength: weight for strength, weight in solutions.items() if weight is not None}
        return _judged(head, val, weights, center, system.mean) if weights else []

    candidates = tried(STRENGTHS)
    if not candidates:
        raise ConfigError("ridge found no solution: the activations are constant or not numbers; check the weights.")
    middle = _best(candidates).strength
    candidates += tried((middle / BETWEEN, middle * BETWEEN))
    best = _best(candidates)
    temperature = best_temperature(best.scores, torch.from_numpy(val.labels))
    with torch.no_grad():
        head.first.weight.copy_(best.weight.T / temperature)
        head.first.bias.copy_(best.bias / temperature)
    train_loss, train_accuracy = measure(head, train)
    val_loss, val_accuracy = measure(head, val)
    seconds = time.perf_counter() - begun
    if not quiet:
        log.info(
            "ridge: L2 strength %g of %s tried, temperature %.3g  train accuracy %.4f  val loss %.4f accuracy %.4f  "
            "%.1f s",
            best.strength, len(candidates), temperature, train_accuracy, val_loss, val_accuracy, seconds,
        )  # fmt: skip
    return Solved(best.strength, temperature, train_loss, train_accuracy, val_loss, val_accuracy, seconds)


@dataclass(frozen=True)
class _System:
    """What is solved for each strength."""

    gram: torch.Tensor  # products between rows (N, N), or between features (F, F)
    right: torch.Tensor  # (N, classes) or (F, classes)
    mean: torch.Tensor  # of the features (F,)
    penalty: torch.Tensor | None = None  # (F, F); nothing: the identity
    rows: torch.Tensor | None = None  # (N, F): from a solution for rows to one for features

    def weight(self, strength: float) -> torch.Tensor | None:
        """Return the weights (F, classes), or None where rounding leaves the matrix without a factor."""
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


def _small(
    head: Head, seen: Sequence[Examples], targets: torch.Tensor, within: WithinClassPenalty | None, bar: Bar
) -> _System:
    """Products between rows."""
    parts = []
    for x in _standardized(head, *seen):
        parts.append(x)
        bar.advance(len(x))
    rows = torch.cat(parts)  # (N, F)
    mean = rows.mean(0)  # (F,)
    rows -= mean
    solved = within.solved(rows) if within else rows
    return _System(rows @ solved.T, targets, mean, rows=solved)


def _large(
    head: Head, seen: Sequence[Examples], targets: torch.Tensor, within: WithinClassPenalty | None, bar: Bar
) -> _System:
    """Products between features, summed batch by batch."""
    width = head.spec.features
    gram, right = torch.zeros(width, width), torch.zeros(width, targets.shape[1])
    total = torch.zeros(width)
    start = 0
    for x in _standardized(head, *seen):
        gram.addmm_(x.T, x)
        right.addmm_(x.T, targets[start : start + len(x)])
        total += x.sum(0)
        start += len(x)
        bar.advance(len(x))
    mean = total / start
    gram.addr_(mean, mean, alpha=-float(start))  # as if every row had been centered
    return _System(gram, right, mean, penalty=within.matrix() if within else None)


def _standardized(head: Head, *parts: Examples) -> Iterator[torch.Tensor]:
    mean, scale = head.mean.cpu(), head.scale.cpu()  # rows come to the processor, and there it is solved
    for examples in parts:
        for rows, _ in examples.batches(EVALUATION_BATCH):
            yield (rows.flatten(1) - mean) * scale  # (B, F)


def _judged(
    head: Head, val: Examples, weights: dict[float, torch.Tensor], center: torch.Tensor, feature_mean: torch.Tensor
) -> list[_Candidate]:
    """Score the validation rows with every solution in one pass."""
    stacked = torch.cat(list(weights.values()), dim=1)  # (F, solutions * classes)
    together = torch.cat([x @ stacked for x in _standardized(head, val)])  # (N, solutions * classes)
    labels = torch.from_numpy(val.labels)
    targets = F.one_hot(labels, head.spec.classes)
    candidates = []
    for (strength, weight), part in zip(weights.items(), torch.split(together, head.spec.classes, dim=1), strict=True):
        bias = center - feature_mean @ weight
        scores = part + bias
        right, error = (scores.argmax(1) == labels).sum(), (scores - targets).square().mean()
        candidates.append(_Candidate(strength, weight, bias, scores, int(right), error.item()))
    return candidates


def _best(candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the one with the least squared error among those at most one image behind the most accurate."""
    most = max(candidate.right for candidate in candidates)
    close = [candidate for candidate in candidates if candidate.right >= most - 1]
    return min(close, key=lambda candidate: candidate.error)
