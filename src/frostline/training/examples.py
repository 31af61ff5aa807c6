"""Rows and labels of one split, and the order they are seen in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

EVALUATION_BATCH = 1024


class Rows(Protocol):
    """Rows by position. From the cache or computed now: training never learns which."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""

    def __len__(self) -> int: ...

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``; ascending order is the fastest."""


class Chosen:
    """Some of other rows, by position.

    Parameters
    ----------
    rows : Rows
    positions : ndarray of int, shape (N,)
    """

    def __init__(self, rows: Rows, positions: NDArray[np.integer]) -> None:
        self._rows, self._positions = rows, positions

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return self._rows.shape

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices`` of the chosen ones."""
        return self._rows.take(self._positions[indices])


class Joined:
    """Rows of one shape that are kept in several places, one after the other.

    Parameters
    ----------
    parts : sequence of Rows
    """

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
    """Rows with their class numbers (N,).

    Attributes
    ----------
    rows : Rows
        Of the images themselves.
    labels : ndarray of int64, shape (N,)
    views : tuple of Rows
        Of further views of the same images, in the same order; training goes round all of them.
    """

    rows: Rows
    labels: NDArray[np.int64]
    views: tuple[Rows, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def in_epoch(self, epoch: int) -> "Examples":
        """Return what an epoch (from 0) trains on: the images first, then view after view, and round again."""
        number = epoch % (1 + len(self.views))
        return self if number == 0 else Examples(self.views[number - 1], self.labels)

    def typical(self, count: int, seed: int) -> NDArray[np.integer]:
        """Return the positions, in ascending order, of up to ``count`` examples that a seed draws."""
        return np.sort(np.random.default_rng([seed, 0x57D]).permutation(len(self))[:count])

    def batches(
        self, size: int, order: NDArray[np.integer] | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield rows (B, ...) and labels (B,), in ``order`` or as they stand.

        Within a batch the rows are read in ascending order: that is the fastest, and the gradient does not mind.
        """
        positions = np.arange(len(self)) if order is None else order
        for start in range(0, len(positions), size):
            batch = np.sort(positions[start : start + size])
            yield self.rows.take(batch), torch.from_numpy(self.labels[batch])


def epoch_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the shuffled order of an epoch: a function of seed and epoch alone, so a resumed run sees the same."""
    return np.random.default_rng([seed, epoch, 0x0DE5]).permutation(count)
