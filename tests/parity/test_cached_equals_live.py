"""Training never learns whether its rows come from the cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from frostline.data.dataset import ImageDataset, Splits
from frostline.features.dataset import LiveFeatures
from frostline.features.forward import FastForward
from frostline.models.boundary import Thawed, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.training.examples import Examples, Rows, moments
from frostline.training.trainer import Recipe, TrainingResult, measure, train
from tests.features.passes import everything, first, keep, make_forward
from tests.parity.measures import largest_gap

TAPS = ("conv2", "conv3", "conv5")
RECIPE = Recipe(epochs=4, batch_size=64, lr=2e-3, seed=11, patience=4)
THAWED = Recipe(
    epochs=2, batch_size=32, lr=1e-3, seed=0, patience=2, optimizer="sgd", lr_schedule="constant", weight_decay=0.0
)


@pytest.fixture(scope="module")
def forward() -> FastForward:
    return make_forward("conv5", TAPS)


@pytest.fixture(scope="module")
def images(fashion: Splits) -> list[ImageDataset]:
    return [first(fashion, 500), first(fashion, 400, 500)]


def kept(images: list[ImageDataset], cache: Path, forward: FastForward, dtype: str) -> list[Rows]:
    return list(keep(images, cache, forward, dtype)[0])


def live(images: list[ImageDataset], forward: FastForward) -> list[Rows]:
    return [LiveFeatures(part, forward) for part in images]


def trained_on(rows: list[Rows], images: list[ImageDataset], *, kind: str = "linear") -> tuple[Head, TrainingResult]:
    """Train a head on rows, wherever they come from, as a run does it."""
    examples = [Examples(part, image.labels) for part, image in zip(rows, images, strict=True)]
    mean, std = moments(nn.Identity(), examples[0], RECIPE.seed)
    torch.manual_seed(RECIPE.seed)
    head = Head(HeadSpec(kind, mean.numel(), 10, hidden_width=32))
    head.standardize(mean, std)
    return head, train(head, *examples, RECIPE)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_cached_float32_trains_the_same_head_as_live(
    images: list[ImageDataset], cache: Path, forward: FastForward, kind: str
) -> None:
    from_cache, told = trained_on(kept(images, cache, forward, "float32"), images, kind=kind)
    from_images, told_live = trained_on(live(images, forward), images, kind=kind)
    for name, weight in from_cache.state_dict().items():
        assert largest_gap(weight, from_images.state_dict()[name]) < 1e-4, name
    assert told.best_epoch == told_live.best_epoch
    assert told.history[-1].val_loss == pytest.approx(told_live.history[-1].val_loss, rel=1e-4)
    assert told.history[-1].train_loss < 0.9 * told.history[0].train_loss  # it did learn


def test_cached_and_live_train_the_same_thawed_stages(fashion: Splits, cache: Path) -> None:
    images = [first(fashion, 128), first(fashion, 64, 128)]
    weights = []
    for source in ("cache", "live"):
        backbone = load_backbone("alexnet", "random", last="conv5", seed=0)
        below = make_forward("conv4", seed=0)
        rows = kept(images, cache, below, "float32") if source == "cache" else live(images, below)
        examples = [Examples(part, image.labels) for part, image in zip(rows, images, strict=True)]
        trunk = Thawed(backbone, make_boundary(backbone, "conv4", ()), 64)
        mean, std = moments(trunk, examples[0], 0)
        head = Head(HeadSpec("linear", mean.numel(), 10))
        head.standardize(mean, std)
        before = backbone.stages["conv5"][0].weight.detach().clone()
        train(nn.Sequential(trunk, head), *examples, THAWED)
        assert not torch.equal(before, backbone.stages["conv5"][0].weight)
        weights.append(backbone.stages["conv5"][0].weight.detach())
    assert largest_gap(weights[0], weights[1]) < 1e-5


def test_float16_costs_less_than_a_thousandth_of_a_row(
    images: list[ImageDataset], cache: Path, forward: FastForward
) -> None:
    for half, whole in zip(
        kept(images, cache, forward, "float16"), kept(images, cache, forward, "float32"), strict=True
    ):
        rows, exact = everything(half), everything(whole)
        worst = ((rows - exact).norm(dim=1) / exact.norm(dim=1)).max()
        assert 0 < worst < 1e-3


def test_float16_costs_less_than_a_point_of_accuracy(
    images: list[ImageDataset], cache: Path, forward: FastForward
) -> None:
    accuracy = {}
    for dtype in ("float16", "float32"):
        rows = kept(images, cache, forward, dtype)
        head, _ = trained_on(rows, images)
        accuracy[dtype] = measure(head, Examples(rows[1], images[1].labels))[1]
    assert accuracy["float32"] > 0.6  # ten classes: guessing gives 0.1
    assert abs(accuracy["float16"] - accuracy["float32"]) <= 0.01


def test_live_rows_equal_kept_ones(images: list[ImageDataset], cache: Path, forward: FastForward) -> None:
    stored, now = kept(images, cache, forward, "float32")[0], live(images, forward)[0]
    some = np.array([3, 0, 0, 499, 77])
    assert stored.shape == now.shape and len(stored) == len(now)
    assert largest_gap(stored.take(some), now.take(some)) < 1e-6
