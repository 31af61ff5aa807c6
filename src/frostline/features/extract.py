"""The frozen pass: compute the features that the cache lacks, and store them shard by shard."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from frostline._utils.progress import Progress, Silent, log
from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset, Pixels
from frostline.data.decoding.pool import Workers
from frostline.errors import DataError, StorageError
from frostline.features.contained import find_contained
from frostline.features.dataset import CachedFeatures
from frostline.features.engine import SelectedEngine
from frostline.features.forward import FastForward
from frostline.features.store import FeatureKey, Store, row_key

SHARD_BYTES = 64 << 20  # about a second of the pass on two cores: what a killed run loses at most
SHARD_ROWS = 4096
AHEAD = 2  # batches whose files are decoded before they are needed
FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class FrozenPass:
    """Statistics of a frozen pass: images, how many of them were cached, and the time of computing the others."""

    images: int
    from_cache: int
    seconds: float
    images_per_second: float

    def __add__(self, other: "FrozenPass") -> "FrozenPass":
        """Return the statistics of both together."""
        images, cached = self.images + other.images, self.from_cache + other.from_cache
        seconds = self.seconds + other.seconds
        return FrozenPass(images, cached, seconds, (images - cached) / seconds if images > cached else 0.0)


@dataclass(frozen=True)
class _Missing:
    """Rows of a data set without cached features."""

    dataset: ImageDataset
    rows: list[int]


def fill(
    datasets: Sequence[ImageDataset],
    forward: FastForward,
    spec: FeatureKey,
    cache: Path,
    *,
    view: View = THE_IMAGE,
    progress: Progress | None = None,
    workers: int = 1,
    engine: str = "torch",
    level: int = logging.INFO,
) -> tuple[list[CachedFeatures], FrozenPass]:
    """Return the features of each data set, computing those that the cache lacks.

    Features of fewer taps are read from a store with more, if that has them all (`frostline.features.contained`).

    Parameters
    ----------
    forward : FastForward
        The frozen stages.
    spec : FeatureKey
        Identifies the store.
    cache : Path
        Frostline's cache folder.
    view : View
        The view of each image; augmented views have a store of their own.
    workers : int
        Processes that decode image files.
    engine : str
        Runs the frozen stages; ``auto`` or one of `frostline.features.compile.ENGINES`.
    level : int
        Of the log line with the number of images to compute.

    Raises
    ------
    StorageError
        If the disk is full, or features are missing from a cache that cannot be written.
    DataError
        If an image cannot be decoded, or a feature does not fit float16.
    """
    begun = time.perf_counter()
    total = sum(map(len, datasets))
    spec = replace(spec, augment=view.to_dict())
    store = Store(cache, spec)
    find = partial(find_contained, datasets, forward, spec, cache, view.number)
    is_new = not store.folder.exists()
    rows = find(total) if is_new else None
    count = absent = 0
    if rows is None:
        with store.locked() as writable:
            store.load(writable=writable, row_shape=forward.row_shape)
            missing, absent = _missing(datasets, store, view.number)
            count = sum(len(part.rows) for part in missing)
            rows = find(count) if count and not is_new else None
            if rows is not None:
                count = absent = 0
            elif count:
                _check_writable(writable, store, cache, f"{count:,} of {total:,}")
                log.log(level, "frozen pass: %s to compute through %s", f"{count:,} of {total:,} images", spec.freeze)
                identity = replace(spec, augment=None, dtype="float32").digest
                selected = SelectedEngine(forward, engine, count, identity, cache)
                _compute(missing, count, selected, store, view, progress or Silent(), workers)
            if writable and rows is None:
                store.mark_used()
    if not count:
        log.log(level, "frozen pass: all %s features found in the cache", f"{total:,}")
    seconds = time.perf_counter() - begun
    done = FrozenPass(total, total - absent, seconds, count / seconds if count else 0.0)
    return rows or [CachedFeatures(store, dataset.row_ids, view.number) for dataset in datasets], done


def _check_writable(writable: bool, store: Store, cache: Path, lacking: str) -> None:
    if not writable:
        raise StorageError(
            f"the cache at {cache} cannot be written and lacks {lacking} features ({store.read_only}): make it "
            "writable, or choose another with --cache-dir."
        )


def _missing(datasets: Sequence[ImageDataset], store: Store, view: int) -> tuple[list[_Missing], int]:
    """Return the rows to compute, each image once, and the number of images without cached features."""
    seen: set[bytes] = set()
    parts, absent = [], 0
    for dataset in datasets:
        rows = []
        for number, row_id in enumerate(dataset.row_ids):
            if row_key(row_id, view) in store.index:
                continue
            absent += 1
            if row_id not in seen:
                seen.add(row_id)
                rows.append(number)
        if rows:
            parts.append(_Missing(dataset, rows))
    return parts, absent


def _compute(
    missing: Sequence[_Missing],
    count: int,
    engine: SelectedEngine,
    store: Store,
    view: View,
    progress: Progress,
    workers: int,
) -> None:
    """Compute the missing rows; a thread writes each shard while the next is computed."""
    forward = engine.forward
    with (
        progress.bar("frozen pass", count, "images") as bar,
        Workers(workers) as decoders,
        ThreadPoolExecutor(1) as writer,
        _Shards(store, writer) as shards,
    ):
        for dataset, numbers, pixels in _batches(missing, forward, decoders):
            resized = forward.preprocess.resize(pixels)  # (B, C, S, S)
            if isinstance(
                pixels, list
            ):  # gray files are expanded to three channels: no row depends on the others in its batch
                resized = resized.expand(-1, 3, -1, -1)
            row_ids = [dataset.row_ids[number] for number in numbers]
            rows = engine(_padded(view(resized, row_ids), forward.batch_size))[: len(numbers)]
            shards.add([row_key(row_id, view.number) for row_id in row_ids], rows)
            bar.advance(len(numbers))


def _padded(batch: torch.Tensor, size: int) -> torch.Tensor:
    """Pad a short batch: a row must not depend on the size of its batch."""
    return torch.nn.functional.pad(batch, (0, 0, 0, 0, 0, 0, 0, size - len(batch))) if len(batch) < size else batch


def _batches(
    missing: Sequence[_Missing], forward: FastForward, workers: Workers
) -> Iterator[tuple[ImageDataset, list[int], Pixels | list[Pixels]]]:
    """Yield batches; the files of the next ones are decoded meanwhile."""
    size, target, levels = forward.batch_size, forward.preprocess.target, forward.preprocess.levels
    plan = [
        (part.dataset, part.rows[start : start + size]) for part in missing for start in range(0, len(part.rows), size)
    ]
    begun: deque[Callable[[], Pixels | list[Pixels]]] = deque()
    for number, (dataset, rows) in enumerate(plan):
        for ahead, ahead_rows in plan[number + len(begun) : number + 1 + AHEAD]:
            begun.append(ahead.decoding(np.array(ahead_rows), target, workers, levels=levels))
        yield dataset, rows, begun.popleft()()


class _Shards:
    """Collects rows in a buffer of the size of a shard, and writes each full one."""

    def __init__(self, store: Store, writer: ThreadPoolExecutor) -> None:
        self._store, self._writer = store, writer
        self._dtype = getattr(torch, store.spec.dtype)
        self._keys: list[bytes] = []
        self._rows: torch.Tensor | None = None
        self._pending: Future[None] | None = None

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, (KeyboardInterrupt, DataError)):  # computed rows are stored
            self._flush()
            self._wait()

    def add(self, keys: list[bytes], rows: torch.Tensor) -> None:
        largest = float(rows.abs().amax())
        if not math.isfinite(largest):
            raise DataError("a feature is infinite or NaN: check the weights.")
        if self._store.spec.dtype == "float16" and largest > FLOAT16_MAX:
            raise DataError("a feature is too large for float16: use --cache-dtype float32, or check the weights.")
        if self._rows is None:
            row_bytes = rows[0].numel() * self._dtype.itemsize
            # Full batches, so that an interrupted pass resumes at the start of one.
            batches = min(SHARD_ROWS, SHARD_BYTES // row_bytes) // len(rows)
            capacity = max(1, batches) * len(rows)
            self._rows = torch.empty((capacity, *rows.shape[1:]), dtype=self._dtype)
        taken = 0
        while taken < len(rows):
            free = len(self._rows) - len(self._keys)
            part = rows[taken : taken + free]
            self._rows[len(self._keys) : len(self._keys) + len(part)].copy_(part)
            self._keys += keys[taken : taken + len(part)]
            taken += len(part)
            if len(self._keys) == len(self._rows):
                self._flush()
                self._rows = torch.empty_like(self._rows)

    def _flush(self) -> None:
        if not self._keys or self._rows is None:
            return
        self._wait()
        keys, rows = self._keys, self._rows[: len(self._keys)].numpy()
        self._keys = []
        self._pending = self._writer.submit(self._store.append, keys, rows)

    def _wait(self) -> None:
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()
