"""The ridge head: least squares on one-hot labels, solved in closed form; the L2 strength is chosen on validation.

Hoerl & Kennard 1970. With features X (N, F), standardised, and targets Y (N, classes), centred:
``W = (X'X + l I)^-1 X'Y``; when N < F the same from the smaller N x N matrix, ``W = X' (XX' + l I)^-1 Y``.
The products are made once; each strength then costs one Cholesky factorisation.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812

from frostline.errors import ConfigError
from frostline.networks.heads import Head
from frostline.progress import Bar, Progress, Silent, log
from frostline.training.calibration import best_temperature
from frostline.training.examples import Examples
from frostline.training.loop import EVALUATION_BATCH, measure

STRENGTHS = tuple(10.0**power for power in range(-5, 3))  # relative to the mean diagonal of the products


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


def solve(head: Head, train: Examples, val: Examples, progress: Progress | None = None) -> Solved:
    """Fill a standardised linear head with the ridge solution.

    Scores of least squares are no probabilities; one temperature, fitted on validation, makes them so (Guo et al. 2017,
    arXiv:1706.04599) without changing any decision.

    Parameters
    ----------
    head : Head
        Linear, its mean and scale already fixed.
    train, val : Examples
        Further views of the training pictures count as further pictures. Strength and temperature are chosen on
        ``val``.
    progress : Progress, optional
        Draws the bar.

    Raises
    ------
    ConfigError
        When no strength gives a solution.
    """
    begun = time.perf_counter()
    seen = [train.in_epoch(number) for number in range(1 + len(train.views))]
    count = len(train) * len(seen)  # N
    targets = F.one_hot(torch.from_numpy(train.labels), head.spec.classes).float()
    centre = targets.mean(0)  # (classes,)
    targets = (targets - centre).repeat(len(seen), 1)  # (N, classes)
    with (progress or Silent()).bar("ridge", count, "rows") as bar:
        products = _small if count < head.spec.features else _large
        gram, right, feature_mean, rows = products(head, seen, targets, bar)
    weights = {}
    for strength in STRENGTHS:
        solution = _solution(gram, right, strength)
        if solution is not None:
            weights[strength] = solution if rows is None else rows.T @ solution  # (F, classes)
    if not weights:
        raise ConfigError("ridge found no solution: the activations are constant or not numbers; check the weights.")
    intercepts = {strength: centre - feature_mean @ weight for strength, weight in weights.items()}
    scores = _scores(head, val, weights, intercepts)
    labels = torch.from_numpy(val.labels)
    accuracy = {strength: (score.argmax(1) == labels).float().mean().item() for strength, score in scores.items()}
    best = max(weights, key=lambda strength: (accuracy[strength], strength))  # of equals, the stronger
    temperature = best_temperature(scores[best], labels)
    with torch.no_grad():
        head.first.weight.copy_(weights[best].T / temperature)
        head.first.bias.copy_(intercepts[best] / temperature)
    train_loss, train_accuracy = measure(head, train)
    val_loss, val_accuracy = measure(head, val)
    seconds = time.perf_counter() - begun
    log.info(
        "ridge: L2 strength %g of %s tried, temperature %.3g  train accuracy %.4f  val loss %.4f accuracy %.4f  %.1f s",
        best, len(weights), temperature, train_accuracy, val_loss, val_accuracy, seconds,
    )  # fmt: skip
    return Solved(best, temperature, train_loss, train_accuracy, val_loss, val_accuracy, seconds)


Products = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


def _small(head: Head, seen: Sequence[Examples], targets: torch.Tensor, bar: Bar) -> Products:
    """Products between rows: (N, N). The rows themselves are needed to come back to features."""
    parts = []
    for x in _standardised(head, *seen):
        parts.append(x)
        bar.advance(len(x))
    rows = torch.cat(parts)  # (N, F)
    mean = rows.mean(0)  # (F,)
    rows -= mean
    return rows @ rows.T, targets, mean, rows


def _large(head: Head, seen: Sequence[Examples], targets: torch.Tensor, bar: Bar) -> Products:
    """Products between features: (F, F), summed batch by batch."""
    width = head.spec.features
    gram, right = torch.zeros(width, width), torch.zeros(width, targets.shape[1])
    total = torch.zeros(width)
    start = 0
    for x in _standardised(head, *seen):
        gram.addmm_(x.T, x)
        right.addmm_(x.T, targets[start : start + len(x)])
        total += x.sum(0)
        start += len(x)
        bar.advance(len(x))
    mean = total / start
    gram.addr_(mean, mean, alpha=-float(start))  # as if every row had been centred
    return gram, right, mean, None


def _standardised(head: Head, *parts: Examples) -> Iterator[torch.Tensor]:
    for examples in parts:
        for rows, _ in examples.batches(EVALUATION_BATCH):
            yield (rows.flatten(1) - head.mean) * head.scale  # (B, F)


def _solution(gram: torch.Tensor, right: torch.Tensor, strength: float) -> torch.Tensor | None:
    """Return (G + l I)^-1 R, or None where rounding leaves the matrix without a factor."""
    ridge = gram.clone()
    ridge.diagonal().add_(strength * gram.diagonal().mean())
    factor, fault = torch.linalg.cholesky_ex(ridge)
    return None if fault else torch.cholesky_solve(right, factor)


def _scores(
    head: Head, val: Examples, weights: dict[float, torch.Tensor], intercepts: dict[float, torch.Tensor]
) -> dict[float, torch.Tensor]:
    """Score the validation rows with every candidate in one pass."""
    stacked = torch.cat(list(weights.values()), dim=1)  # (F, candidates * classes)
    scores = torch.cat([x @ stacked for x in _standardised(head, val)])  # (N, candidates * classes)
    parts = torch.split(scores, head.spec.classes, dim=1)
    return {strength: part + intercepts[strength] for strength, part in zip(weights, parts, strict=True)}
