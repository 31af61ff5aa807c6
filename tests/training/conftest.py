"""Cached features of 600 Fashion-MNIST images, in narrow and wide rows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data import fashion_mnist
from frostline.data.preprocess import Preprocess
from frostline.features.extract import fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.training.examples import Examples, moments
from frostline.training.trainer import Recipe

Pair = tuple[Examples, Examples]


def _kept(data: Path, cache: Path, taps: tuple[str, ...]) -> Pair:
    images = fashion_mnist.load(data).train
    parts = [images.subset(np.arange(480)), images.subset(np.arange(480, 600))]
    backbone = load_backbone("alexnet", "random", last="conv5", cache_dir=cache)
    frozen = Frozen(backbone, make_boundary(backbone, "conv5", taps))
    preprocess = Preprocess(64)
    spec = feature_key("alexnet", frozen, preprocess, "float16")
    rows, _ = fill(parts, FastForward(frozen, preprocess, torch.device("cpu")), spec, cache)
    train, val = (Examples(kept, part.labels) for kept, part in zip(rows, parts, strict=True))
    return train, val


@pytest.fixture(scope="session")
def narrow(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """480 training and 120 validation rows of conv5: 256 features each, fewer than rows."""
    return _kept(small_fashion, tmp_path_factory.mktemp("narrow"), ())


@pytest.fixture(scope="session")
def wide(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The same images through three taps: more features than rows."""
    return _kept(small_fashion, tmp_path_factory.mktemp("wide"), ("conv2", "conv3", "conv5"))


MakeHead = Callable[..., Head]


@pytest.fixture
def make_head() -> MakeHead:
    """Make a standardized head for rows."""

    def make(examples: Examples, kind: str = "linear", seed: int = 0, width: int = 64) -> Head:
        torch.manual_seed(seed)
        mean, std = moments(torch.nn.Identity(), examples, seed)
        head = Head(HeadSpec(kind, mean.numel(), 10, width, 0.5))
        head.standardize(mean, std)
        return head

    return make


MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def make_recipe() -> MakeRecipe:
    """Make a recipe with sensible defaults."""

    def make(**changes: object) -> Recipe:
        values = {
            "epochs": 5,
            "batch_size": 64,
            "optimizer": "adamw",
            "lr_schedule": "onecycle",
            "lr": 3e-3,
            "momentum": 0.9,
            "weight_decay": 0.01,
            "label_smoothing": 0.0,
            "patience": 100,
            "seed": 0,
        }
        return Recipe(**{**values, **changes})  # type: ignore[arg-type]

    return make
