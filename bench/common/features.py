"""Features of AlexNet's frozen convolutions, and the labels that a head is trained on."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.common.machine import CONVS
from frostline.config import TrainConfig
from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset
from frostline.data.drawn_objects import load_prior
from frostline.data.preprocess import Preprocess
from frostline.data.splits import per_class, train_val
from frostline.features.extract import fill
from frostline.features.forward import FastForward
from frostline.features.store import FeatureKey, feature_key
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.training.examples import Examples, moments

IMAGE_SIZE = 128
CONV5 = 256 * 3 * 3  # features of conv5 at 128 px; they stand last among the pooled taps


def frozen_alexnet(
    weights: str = "random",
    image_size: int = IMAGE_SIZE,
    taps: Sequence[str] = CONVS,
    *,
    freeze: str = "conv5",
    seed: int = 0,
) -> FastForward:
    """Return AlexNet's stages up to a boundary, on the CPU, with the preprocessing of the reference case."""
    backbone = load_backbone(weights=weights, seed=seed)
    frozen = Frozen(backbone, make_boundary(backbone, freeze, tuple(taps)))
    return FastForward(frozen, Preprocess(image_size), torch.device("cpu"))


def spec_for(forward: FastForward, dtype: str = "float16") -> FeatureKey:
    """Return the identity of these features in a cache."""
    return feature_key("alexnet", forward.frozen, forward.preprocess, dtype)


def warm_up(forward: FastForward, images: ImageDataset) -> None:
    """Run one batch: kernels are chosen at the first call."""
    forward(forward.preprocess.resize(images.pixels(np.arange(min(forward.batch_size, len(images))))))


class InMemory:
    """Rows of features (N, F) held as float16, as the cache keeps them."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows
        self.shape = tuple(rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: np.ndarray) -> torch.Tensor:
        """Return some rows as float32 (B, F)."""
        return self.rows[torch.from_numpy(indices)].float()

    def part(self, indices: np.ndarray) -> "InMemory":
        """Return some rows."""
        return InMemory(self.rows[torch.from_numpy(indices)])

    def last(self, count: int | None) -> "InMemory":
        """Return the last features of every row; all of them without a number."""
        return self if count is None else InMemory(self.rows[:, -count:])


def rows_of(forward: FastForward, images: ImageDataset, view: View = THE_IMAGE) -> InMemory:
    """Run the frozen stages over a view of a data set of equally sized images."""
    rows = []
    for start in range(0, len(images), 64):
        batch = forward.preprocess.resize(np.asarray(images.images[start : start + 64]))
        rows.append(forward(view(batch, images.row_ids[start : start + 64])).flatten(1).half())
    return InMemory(torch.cat(rows).clone())


class Lazy:
    """Rows of a view of a data set, computed on first access."""

    def __init__(self, forward: FastForward, images: ImageDataset, view: View = THE_IMAGE) -> None:
        self._forward, self._images, self._view = forward, images, view
        self._computed = np.zeros(len(images), bool)
        self._rows: torch.Tensor | None = None

    def examples(self, positions: np.ndarray, width: int | None = None) -> Examples:
        """Return some rows, or the last features of each, with their labels."""
        missing = np.unique(positions[~self._computed[positions]])
        if len(missing):
            rows = rows_of(self._forward, self._images.subset(missing), self._view).rows
            if self._rows is None:
                self._rows = rows.new_empty(len(self._images), rows.shape[1])
            self._rows[torch.from_numpy(missing)] = rows
            self._computed[missing] = True
        assert self._rows is not None
        rows_there = InMemory(self._rows[torch.from_numpy(positions)])
        return Examples(rows_there.last(width), self._images.labels[positions])


def prior_examples(forward: FastForward, width: int | None = None, images: ImageDataset | None = None) -> Examples:
    """Return the features of the drawn images that the closed-form head's prior comes from."""
    drawn = load_prior() if images is None else images
    return Examples(rows_of(forward, drawn).last(width), drawn.labels)


def fill_once(forward: FastForward, images: ImageDataset, folder: Path) -> None:
    """Run the frozen pass into a cache."""
    fill([images], forward, spec_for(forward), folder)


def new_head(kind: str, examples: Examples, classes: int = 10, seed: int = 0) -> Head:
    """Return an untrained head, standardized by its training examples."""
    head = Head(HeadSpec(kind, int(np.prod(examples.rows.shape)), classes))
    head.standardize(*moments(torch.nn.Sequential(), examples, seed))
    return head


def draw_labels(train_set: ImageDataset, labels: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which images are trained on, and which are held out for validation, as a run draws them."""
    chosen, held_out = train_val(train_set.labels, TrainConfig(data="fashion-mnist").val_fraction, seed)
    if labels is not None:
        chosen = chosen[per_class(train_set.labels[chosen], labels, seed)]
    return chosen, held_out


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, a third of them (drawn once) for testing."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    everything = ImageDataset(images, data.target, tuple(map(str, range(10))))
    train_rows, test_rows = train_val(everything.labels, 1 / 3, seed=0)
    return everything.subset(train_rows), everything.subset(test_rows)
