"""Cross-validation: scores for every example from a linear head trained without its fold.

`out_of_fold` trains the heads of all folds together, as one layer with ``folds * classes`` outputs: a row is read once
per epoch for any number of folds, and each head's loss leaves its own fold out. `ridge_out_of_fold` fits them in closed
form, for rows that fit in memory.
"""

import math
import warnings
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import nn

from frostline._utils.progress import Progress, Silent
from frostline.models.heads import Head, HeadSpec
from frostline.training.examples import EVALUATION_BATCH, Examples, epoch_order, moments
from frostline.training.optim import learning_rate, make_optimizer
from frostline.training.trainer import Recipe, gradient_steps

NEVER = -1  # the fold of examples that train no head
RIDGE_FOLDS = 5
RIDGE_SEED = 0  # of the folds: they are the same for every seed of a run
STRENGTHS = (0.01, 0.1, 1.0)  # of the L2 penalty, relative to the mean squared norm of a row


def draw_folds(labels: NDArray[np.int64], groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return a fold (N,) for each example, stratified by class; the examples of a group share one.

    A group's class is that of its first example.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    order = np.random.default_rng([seed, 0xF01D]).permutation(len(first))
    fold_of = np.empty(len(first), np.int64)
    for label in np.unique(labels[first]):
        members = order[labels[first][order] == label]
        fold_of[members] = (np.arange(len(members)) + label) % count  # small classes must not all start with fold 0
    return fold_of[group]


def out_of_fold(
    examples: Examples,
    folds: NDArray[np.int64],
    classes: int,
    recipe: Recipe,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> torch.Tensor:
    """Return logits (N, classes), each from the head trained without the example's fold.

    Parameters
    ----------
    examples : Examples
        Rows are flattened and standardized.
    folds : ndarray of int64, shape (N,)
        Numbers from 0; examples of fold `NEVER` train no head and get the mean of all heads' logits.
    recipe : Recipe
        Epochs, batch size, learning rate, weight decay and label smoothing; the heads of the last epoch are used.
    """
    count = int(folds.max()) + 1
    device = device or torch.device("cpu")
    known = np.flatnonzero(folds != NEVER)
    mean, std = moments(nn.Identity(), Examples(examples.rows, examples.labels), recipe.seed)
    heads = Head(HeadSpec("linear", mean.numel(), count * classes))
    heads.standardize(mean, std)
    heads.to(device)
    optimizer = make_optimizer(
        recipe.optimizer, [{"params": list(heads.parameters())}], recipe.lr, recipe.weight_decay, recipe.momentum
    )

    def objective(batch: NDArray[np.int64]) -> tuple[torch.Tensor, None]:
        logits = heads(examples.rows.take(batch).to(device)).unflatten(1, (count, -1))  # (B, folds, classes)
        labels = torch.from_numpy(examples.labels[batch]).to(device)[:, None].expand(-1, count)  # (B, folds)
        losses = F.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), label_smoothing=recipe.label_smoothing, reduction="none"
        ).reshape(-1, count)
        others = torch.from_numpy(folds[batch]).to(device)[:, None] != torch.arange(count, device=device)
        return ((losses * others).sum(0) / others.sum(0).clamp_min(1)).sum(), None

    steps = recipe.epochs * math.ceil(len(known) / recipe.batch_size)
    with (progress or Silent()).bar("folds", steps, "steps") as bar:
        batches, remedy = _scheduled_batches(known, recipe, steps), "check the weights and the images."
        for _ in gradient_steps(optimizer, batches, objective, where="cross-validation", remedy=remedy):
            bar.advance(1)
    return _predict(heads, examples, folds, count)


def _scheduled_batches(
    known: NDArray[np.int64], recipe: Recipe, steps: int
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield the learning rate and the positions of each batch."""
    step = 0
    for epoch in range(recipe.epochs):
        order = known[epoch_order(len(known), recipe.seed, epoch)]
        for start in range(0, len(known), recipe.batch_size):
            lr = learning_rate(recipe.lr_schedule, recipe.lr, step, steps)
            yield lr, np.sort(order[start : start + recipe.batch_size])
            step += 1


@torch.inference_mode()
def _predict(heads: Head, examples: Examples, folds: NDArray[np.int64], count: int) -> torch.Tensor:
    parts, start = [], 0
    for rows, _ in examples.batches(EVALUATION_BATCH):
        logits = heads(rows.to(heads.mean.device)).cpu().unflatten(1, (count, -1))  # (B, folds, classes)
        fold = torch.from_numpy(folds[start : start + len(rows)])
        own = logits[torch.arange(len(fold)), fold.clamp_min(0)]  # (B, classes)
        parts.append(torch.where(fold[:, None] == NEVER, logits.mean(1), own))
        start += len(rows)
    return torch.cat(parts).clone()


def ridge_out_of_fold(
    rows: torch.Tensor, labels: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> NDArray[np.float64] | None:
    """Return the scores (N, classes) of closed-form heads for rows (N, F), each head fitted without the row's fold.

    The score of a class that a head has not seen is minus infinity. Rows of a group are in one fold. Of three L2
    strengths the one with the most correct rows counts. ``None`` when the rows are too few for two folds.

    No head is fitted for each fold: with the hat matrix H of all rows, the residuals of a fold S that is left out are
    ``(I - H[S, S])^-1`` times its residuals (Hastie, Tibshirani and Friedman 2009, section 7.10).
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    members = len(labels) if groups is None else len(np.unique(groups))
    folds = int(min(RIDGE_FOLDS, np.bincount(labels).max(), members))
    if folds < 2:
        return None
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=RIDGE_SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer members than folds
        parts = list(splitter.split(labels, labels, groups))
    targets = np.where(labels[:, None] == np.arange(labels.max() + 1), 1.0, -1.0)  # (N, classes)
    rows = rows.double()
    rows = (rows - rows.mean(0)) / rows.std(0, correction=0).clamp_min(1e-6)
    values, vectors = (part.numpy() for part in torch.linalg.eigh(rows @ rows.T))  # (N,), (N, N)
    values = np.maximum(values, 0)
    found = []
    for strength in STRENGTHS:
        shrunk = values / (values + strength * max(values.mean(), 1e-12))  # the mean is a row's mean squared norm
        hat = (vectors * shrunk) @ vectors.T + 1 / len(labels)  # the heads have an intercept
        residuals = targets - hat @ targets
        scores = np.empty_like(targets)
        for known, held_out in parts:
            rest = np.eye(len(held_out)) - hat[np.ix_(held_out, held_out)]
            scores[held_out] = targets[held_out] - np.linalg.solve(rest, residuals[held_out])
            scores[np.ix_(held_out, np.setdiff1d(labels, labels[known]))] = -np.inf
        found.append(scores)
    return max(found, key=lambda scores: int((scores.argmax(1) == labels).sum()))
