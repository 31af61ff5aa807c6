"""Small, real frozen passes, and a progress bar that counts the rows they compute."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.preprocess import Preprocess
from frostline.features.dataset import CachedFeatures
from frostline.features.extract import FrozenPass, fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import load_backbone

CPU = torch.device("cpu")


def make_forward(
    freeze: str = "conv1", taps: tuple[str, ...] = (), image_size: int = 64, seed: int = 0, device: torch.device = CPU
) -> FastForward:
    """Return the fast pass of an AlexNet with random weights."""
    deepest = freeze if freeze in ("fc6", "fc7") else "conv5"
    backbone = load_backbone("alexnet", "random", last=deepest, seed=seed)
    frozen = Frozen(backbone, make_boundary(backbone, freeze, taps))
    return FastForward(frozen, Preprocess(image_size), device)


class Counter:
    """A progress whose bar adds up what it is told."""

    def __init__(self) -> None:
        self.rows = 0

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator["Counter"]:
        yield self

    def advance(self, amount: int) -> None:
        self.rows += amount

    def note(self, text: str) -> None:
        pass


class Interrupter(Counter):
    """Presses Ctrl-C once so many rows are computed."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def advance(self, amount: int) -> None:
        super().advance(amount)
        if self.rows >= self._after:
            raise KeyboardInterrupt


def keep(
    datasets: ImageDataset | Sequence[ImageDataset],
    cache: Path,
    forward: FastForward,
    dtype: str = "float32",
    progress: Counter | None = None,
    view: View = THE_IMAGE,
) -> tuple[list[CachedFeatures], FrozenPass, int]:
    """Fill a cache; return the kept activations, what the pass reports, and how many rows it computed."""
    counter = progress or Counter()
    parts = [datasets] if isinstance(datasets, ImageDataset) else datasets
    spec = feature_key("alexnet", forward.frozen, forward.preprocess, dtype)
    kept, done = fill(parts, forward, spec, cache, view=view, progress=counter, workers=2)
    return kept, done, counter.rows


def everything(kept: CachedFeatures) -> torch.Tensor:
    """Return all rows in order."""
    return kept.take(np.arange(len(kept)))


def first(fashion: Splits, count: int, start: int = 0) -> ImageDataset:
    """Return ``count`` real training images; the first 1,200 are all different."""
    return fashion.train.subset(np.arange(start, start + count))


def as_files(images: ImageDataset, folder: Path) -> ImageDataset:
    """Write images as PNG files and return the data set of those files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.png" for number in range(len(images))]
    for path, pixels in zip(paths, images.images, strict=True):
        Image.fromarray(pixels).save(path)
    return ImageDataset(tuple(paths), images.labels, images.class_names)
