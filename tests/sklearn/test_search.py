"""Searches, cross-validation and permutation tests run the frozen stages once for each image."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, permutation_test_score
from sklearn.pipeline import Pipeline
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from frostline.data.drawn_objects import load_prior
from frostline.features.inventory import list_stores
from frostline.sklearn import FeatureExtractor, TransferClassifier
from tests.sklearn.conftest import Labelled

FAST = {"weights": "bundled", "image_size": 64, "taps": "none"}


def computed(cache: Path) -> list[int]:
    """Return the number of rows in each store: the images that ran through the frozen stages and were cached."""
    return [store.rows for store in list_stores(cache)]


@contextmanager
def batches() -> Iterator[list[int]]:
    """Record the size of every batch that runs through a convolution on 64 channels (conv2).

    Batches of images are padded; a batch of one is empty and only determines the shape of a row.
    """
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        if (
            isinstance(module, nn.Conv2d)
            and module.in_channels == 64
            and output.device.type != "meta"
            and len(inputs[0]) > 1
        ):
            sizes.append(len(inputs[0]))

    handle = register_module_forward_hook(note)
    yield sizes
    handle.remove()


def pipeline() -> Pipeline:
    return Pipeline([("rows", FeatureExtractor(**FAST)), ("head", LogisticRegression(max_iter=300))])


def test_search_over_the_classifier_runs_frozen_stages_once(labeled: Labelled, cache: Path) -> None:
    grid: dict[str, list[Any]] = {"lr": [1e-4, 3e-3], "head": ["linear", "ridge"]}
    with batches() as ran:  # 4 candidates x 3 folds x (fit + predict), and a last fit on everything
        search = GridSearchCV(TransferClassifier(**FAST, epochs=5), grid, cv=3).fit(*labeled)
    drawn = len(load_prior())  # for the prior of ridge, in batches of 64
    assert len(ran) == 3 + math.ceil(drawn / 64)  # of the first fold only: training, validation and test images
    assert computed(cache) == [60 + drawn]
    assert search.best_score_ >= 0.85
    done = search.best_estimator_.frozen_pass_
    assert done.from_cache == done.images == 60


def test_search_over_a_pipeline_runs_frozen_stages_once(labeled: Labelled, cache: Path) -> None:
    with batches() as ran:
        search = GridSearchCV(pipeline(), {"head__C": [0.01, 1.0]}, cv=3).fit(*labeled)
    assert len(ran) == 2  # of the first fold only: training and test images
    assert computed(cache) == [60]
    assert search.best_score_ >= 0.85


def test_two_processes_share_the_rows(labeled: Labelled, cache: Path) -> None:
    search = GridSearchCV(TransferClassifier(**FAST, epochs=5), {"lr": [6e-4, 3e-3]}, cv=3, n_jobs=2).fit(*labeled)
    assert computed(cache) == [60]
    assert search.best_score_ >= 0.85


def test_boundaries_of_a_search_have_a_store_each(labeled: Labelled, cache: Path) -> None:
    GridSearchCV(pipeline(), {"rows__freeze": ["conv2", "conv3"]}, cv=2).fit(*labeled)
    assert computed(cache) == [60, 60]


def test_cross_validation_and_permutations(labeled: Labelled, cache: Path) -> None:
    model = TransferClassifier(**FAST, head="ridge")
    assert cross_val_score(model, *labeled, cv=3).mean() >= 0.85
    score, permuted, chance = permutation_test_score(model, *labeled, cv=3, n_permutations=9, random_state=0)
    assert score >= 0.85
    assert np.mean(permuted) <= 0.6
    assert chance <= 0.1 + 1e-9
    assert computed(cache) == [60 + len(load_prior())]


def test_paths_in_a_search(labeled: Labelled, cache: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(60)]
    for path, pixels in zip(paths, labeled[0], strict=True):
        Image.fromarray(pixels).save(path)
    assert cross_val_score(pipeline(), paths, labeled[1], cv=3).mean() >= 0.85
    assert computed(cache) == [60]
