"""Training examples as features and labels: mini-batches, statistics and mixing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import nn

from frostline.models.heads import Head

EVALUATION_BATCH = 1024


class Rows(Protocol):
    """Rows by position, cached or computed on access."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``; ascending order is the fastest."""


class Chosen:
    """The rows at some positions of others."""

    def __init__(self, rows: Rows, positions: NDArray[np.integer]) -> None:
        self._rows, self._positions = rows, positions

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._rows.shape

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``."""
        return self._rows.take(self._positions[indices])


class Joined:
    """The concatenation of rows of one shape."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._parts[0].shape

    def __len__(self) -> int:
        return int(self._ends[-1])

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``."""
        part_of = np.searchsorted(self._ends, indices, side="right")
        out = torch.empty((len(indices), *self.shape))
        for number in np.unique(part_of):
            part, here = self._parts[number], np.flatnonzero(part_of == number)
            first = self._ends[number] - len(part)
            out[torch.from_numpy(here)] = part.take(indices[here] - first)
        return out


@dataclass(frozen=True)
class Examples:
    """Rows with their class numbers."""

    rows: Rows
    labels: NDArray[np.int64]  # (N,)
    views: tuple[Rows, ...] = ()  # further views of the same images, in the same order; epochs cycle through them
    class_weights: torch.Tensor | None = None  # (classes,): of each class in the loss; None: 1

    def __len__(self) -> int:
        return len(self.labels)

    def in_epoch(self, epoch: int) -> "Examples":
        """Return the examples of an epoch (from 0), which cycles through the images and their views."""
        number = epoch % (1 + len(self.views))
        return self if number == 0 else Examples(self.views[number - 1], self.labels, (), self.class_weights)

    @property
    def weights(self) -> torch.Tensor:
        """The weight of each example (N,)."""
        if self.class_weights is None:
            return torch.ones(len(self))
        return self.class_weights[torch.from_numpy(self.labels)]

    def typical(self, count: int, seed: int) -> NDArray[np.integer]:
        """Return the positions, ascending, of up to ``count`` random examples."""
        return np.sort(np.random.default_rng([seed, 0x57D]).permutation(len(self))[:count])

    def batches(
        self, size: int, order: NDArray[np.integer] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield rows (B, ...) and labels (B,), in ``order`` if it is set.

        Within a batch the rows are read in ascending order, which is the fastest and does not affect the gradient.
        """
        positions = np.arange(len(self)) if order is None else order
        for start in range(0, len(positions), size):
            batch = np.sort(positions[start : start + size])
            yield self.rows.take(batch), torch.from_numpy(self.labels[batch])


def balanced_weights(labels: NDArray[np.int64], classes: int) -> torch.Tensor:
    """Return class weights (classes,) with which all classes that occur count alike, on average 1 for each example."""
    counts = torch.from_numpy(np.bincount(labels, minlength=classes)).float()
    return torch.where(counts > 0, len(labels) / ((counts > 0).sum() * counts), torch.zeros(()))


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the shuffled order of an epoch, determined by seed and epoch, so that a resumed run repeats it."""
    return np.random.default_rng([seed, epoch, 0x0DE5]).permutation(count)


MOMENT_ROWS = 4096
MOMENT_BATCH = 512


def moments(module: nn.Module, examples: Examples, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (F,) of a module's outputs for up to 4,096 random rows."""
    sample = examples.typical(MOMENT_ROWS, seed)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        module.eval()
        total = square = torch.zeros(())
        for start in range(0, len(sample), MOMENT_BATCH):
            rows = examples.rows.take(sample[start : start + MOMENT_BATCH])
            values = module(rows.to(device)).flatten(1).double().cpu()  # (B, F)
            total, square = total + values.sum(0), square + values.square().sum(0)
        mean = total / len(sample)
        std = (square / len(sample) - mean.square()).clamp_min(0).sqrt()
    return mean.float().clone(), std.float().clone()


def standardized(head: Head, *parts: Examples) -> Iterator[torch.Tensor]:
    """Yield batches of rows (B, F) on the CPU, standardized as by a head."""
    mean, scale = head.mean.cpu(), head.scale.cpu()
    for examples in parts:
        for rows, _ in examples.batches(EVALUATION_BATCH):
            yield (rows.flatten(1) - mean) * scale


def principal_axes(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return the first ``count`` principal axes of rows (N, F), centered in place: unit columns (F, count).

    They are computed from the N x N Gram matrix, for samples with fewer rows than features; scikit-learn's PCA would
    decompose the F x F covariance or, randomized, depend on a seed.
    """
    rows -= rows.mean(0)
    values, vectors = torch.linalg.eigh((rows @ rows.T).double())  # ascending
    values, vectors = values[-count:].flip(0), vectors[:, -count:].flip(1)
    axes: torch.Tensor = rows.T @ (vectors / values.clamp_min(1e-6).sqrt()).float()
    return axes


@dataclass(frozen=True)
class Batch:
    """Rows (B, ...) mixed from ``share`` of their ``labels`` (B,) and ``1 - share`` of ``others`` (B,)."""

    rows: torch.Tensor
    labels: torch.Tensor
    others: torch.Tensor
    share: float

    def loss(
        self, logits: torch.Tensor, label_smoothing: float, class_weights: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the cross-entropy of logits (B, classes) with both labels, weighted by their shares."""
        weights = None if class_weights is None else class_weights.to(logits.device)
        loss = F.cross_entropy(logits, self.labels, weights, label_smoothing=label_smoothing)
        if self.share == 1:
            return loss
        other = F.cross_entropy(logits, self.others, weights, label_smoothing=label_smoothing)
        return self.share * loss + (1 - self.share) * other


def mix(rows: torch.Tensor, labels: torch.Tensor, mixup: float, cutmix: float, draw: np.random.Generator) -> Batch:
    """Mix each row of a batch with another one.

    ``mixup`` (Zhang et al. 2018, arXiv:1710.09412) blends them; on features that is manifold mixup (Verma et al. 2019,
    arXiv:1806.05236). ``cutmix`` (Yun et al. 2019, arXiv:1905.04899) copies a rectangle of one into the other and needs
    maps. With both, each batch uses one of the two at random.

    Parameters
    ----------
    rows : Tensor (B, ...), for cutmix (B, C, H, W)
    labels : Tensor (B,)
    mixup, cutmix : float
        The share is drawn from Beta(x, x); 0 disables it.
    draw : numpy Generator
    """
    if not (mixup or cutmix):
        return Batch(rows, labels, labels, 1.0)
    cut = cutmix > 0 and (mixup == 0 or draw.random() < 0.5)
    strength = cutmix if cut else mixup
    share = float(draw.beta(strength, strength))
    partner = torch.from_numpy(draw.permutation(len(rows))).to(rows.device)
    if not cut:
        return Batch(share * rows + (1 - share) * rows[partner], labels, labels[partner], share)
    height, width = rows.shape[-2:]
    side = (1 - share) ** 0.5
    top, bottom = _span(height, side, draw)
    left, right = _span(width, side, draw)
    mixed = rows.clone()
    mixed[:, :, top:bottom, left:right] = rows[partner, :, top:bottom, left:right]
    return Batch(mixed, labels, labels[partner], 1 - (bottom - top) * (right - left) / (height * width))


def _span(length: int, share: float, draw: np.random.Generator) -> tuple[int, int]:
    """Return start and end of a span of a share of a length at a random center, cut off at the edges."""
    half, center = share * length / 2, draw.random() * length
    return max(0, round(center - half)), min(length, round(center + half))
