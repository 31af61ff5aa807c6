"""Rows as a trainer wants them: by position in a data set, whether they are kept on disk or computed now."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset
from frostline.features.forward import FastForward
from frostline.features.store import Store, row_key


@dataclass(frozen=True)
class Columns:
    """Some numbers of flat rows, in their order.

    Attributes
    ----------
    slices : tuple of slice
        With start and stop, ascending.
    shape : tuple of int
        Of one row of these numbers.
    """

    slices: tuple[slice, ...]
    shape: tuple[int, ...]

    def __getitem__(self, part: slice) -> "Columns":
        """Return some of these columns, given by their position among them."""
        start, stop, _ = part.indices(math.prod(self.shape))
        chosen, before = [], 0
        for piece in self.slices:
            low, high = max(start - before, 0), min(stop - before, piece.stop - piece.start)
            if low < high:
                chosen.append(slice(piece.start + low, piece.start + high))
            before += piece.stop - piece.start
        return Columns(tuple(chosen), (stop - start,))


class CachedFeatures:
    """Rows of a store, in the order of a data set; read through memory maps.

    Parameters
    ----------
    store : Store
        Loaded, with every row present.
    row_ids : sequence of bytes
        One identity per position.
    view : int
        Which view of each image.
    columns : Columns, optional
        Numbers of a flat row that are returned, e.g. those of some taps; all of them when left out.
    """

    def __init__(self, store: Store, row_ids: Sequence[bytes], view: int = 0, columns: Columns | None = None) -> None:
        places = [store.index[row_key(row_id, view)] for row_id in row_ids]
        self._store, self._view, self._columns = store, view, columns
        self._shards = [_as_tensor(shard) for shard in store.shards]
        self._shard_of = np.array([place.shard for place in places], np.int64)
        self._row_of = np.array([place.row for place in places], np.int64)
        self.dtype = np.dtype(store.spec.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        if not self._shards:
            return ()
        return self._columns.shape if self._columns else tuple(self._shards[0].shape[1:])

    def __len__(self) -> int:
        return len(self._row_of)

    def lacks(self, row_ids: Sequence[bytes]) -> bool:
        """Whether the store has no row of some image."""
        return any(row_key(row_id, self._view) not in self._store.index for row_id in row_ids)

    def of(self, row_ids: Sequence[bytes], columns: slice | None = None) -> "CachedFeatures":
        """Return other rows of the same store and view, which is not read and verified again.

        Parameters
        ----------
        columns : slice, optional
            Numbers of a flat row that are returned; all of them when left out.
        """
        chosen = self._columns
        if columns is not None:
            width = math.prod(self.shape)
            chosen = (chosen or Columns((slice(0, width),), (width,)))[columns]
        return CachedFeatures(self._store, row_ids, self._view, chosen)

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``."""
        shards, rows = self._shard_of[indices], self._row_of[indices]
        order = np.argsort(shards, kind="stable")
        taken = torch.empty((len(indices), *self.shape), dtype=getattr(torch, self.dtype.name))
        start = 0
        for shard, count in zip(*np.unique(shards, return_counts=True), strict=True):
            end = start + count
            self._copy(self._shards[shard], torch.from_numpy(rows[order[start:end]]), taken[start:end])
            start = end
        if (np.diff(order) < 0).any():  # shards interleave: put the rows back in the order asked for
            taken = taken[torch.from_numpy(np.argsort(order))]
        return taken.float()

    def _copy(self, shard: torch.Tensor, wanted: torch.Tensor, out: torch.Tensor) -> None:
        """Copy the columns of some rows of a shard, by all threads."""
        if self._columns is None:
            torch.index_select(shard, 0, wanted, out=out)
        elif len(self._columns.slices) == 1:
            torch.index_select(shard[:, self._columns.slices[0]], 0, wanted, out=out.flatten(1))
        else:
            parts = [shard[:, piece].index_select(0, wanted) for piece in self._columns.slices]
            torch.cat(parts, dim=1, out=out.flatten(1))


def _as_tensor(shard: NDArray[Any]) -> torch.Tensor:
    """Return a memory-mapped shard, not copied."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes there
        return torch.from_numpy(np.asarray(shard))


class LiveFeatures:
    """Rows computed at every call: what caching is compared with, and what ``--freeze none`` trains on.

    Parameters
    ----------
    dataset : ImageDataset
        The images.
    forward : FastForward
        The frozen part; with no frozen stage it gives normalized pixels.
    view : View
        Which view of each image.
    """

    def __init__(self, dataset: ImageDataset, forward: FastForward, view: View = THE_IMAGE) -> None:
        self._dataset, self._forward, self._view = dataset, forward, view

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.take(np.arange(1)).shape[1:])

    def __len__(self) -> int:
        return len(self._dataset)

    def take(self, indices: NDArray[np.integer]) -> torch.Tensor:
        """Return float32 rows (B, ...) at ``indices``."""
        size = self._forward.batch_size
        parts = []
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            preprocess = self._forward.preprocess
            pixels = self._dataset.decoding(batch, preprocess.target, levels=preprocess.levels)()
            resized = preprocess.resize(pixels)  # (B, C, S, S)
            parts.append(self._forward(self._view(resized, self._row_ids(batch))).cpu())
        return torch.cat(parts)  # anew: the pass gives inference tensors, and those may not enter a training step

    def _row_ids(self, batch: NDArray[np.integer]) -> list[bytes]:
        """Return identities; the image itself needs none, and hashing files takes time."""
        return [self._dataset.row_ids[i] for i in batch] if self._view.number else []
