"""FeatureExtractor: taps, caching and pipelines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from frostline.errors import ConfigError, UnknownNameError
from frostline.features.inventory import list_stores
from frostline.models.boundary import tapped
from frostline.sklearn import FeatureExtractor, TransferClassifier
from tests.sklearn.conftest import Labelled

WIDTH = {"conv1": 64, "conv2": 192, "conv3": 384, "conv4": 256, "conv5": 256}  # channels


def transformer(**changes: Any) -> FeatureExtractor:
    return FeatureExtractor(**{"weights": "bundled", "image_size": 64, **changes})


def numbers(*stages: str, whole: str = "conv5") -> int:
    """How many numbers a row of stages has at 64 px: maps of 3 x 3 but the last, and conv5's 1 x 1."""
    return sum(WIDTH[stage] * (1 if stage == "conv5" else 9) for stage in stages)


def test_verbose_prints_log_messages(labeled: Labelled, capsys: pytest.CaptureFixture[str]) -> None:
    model = transformer(taps="none").fit(labeled[0])
    model.transform(labeled[0])
    assert capsys.readouterr().out == ""
    model.set_params(verbose=1).transform(labeled[0])
    assert capsys.readouterr().out.startswith("frozen pass: ")


@pytest.mark.parametrize(
    ("changes", "features"),
    [
        ({}, numbers("conv1", "conv2", "conv3", "conv4", "conv5")),
        ({"taps": "none"}, numbers("conv5")),
        ({"freeze": "conv4"}, numbers("conv1", "conv2", "conv3", "conv4")),
        ({"freeze": "conv4", "taps": ("conv2", "conv4")}, numbers("conv2", "conv4")),
        ({"freeze": "conv3", "taps": "none"}, numbers("conv3")),
        ({"freeze": "conv5", "taps": ("conv1",)}, numbers("conv1")),
    ],
)
def test_rows_have_the_outputs_of_the_taps(changes: dict[str, Any], features: int, labeled: Labelled) -> None:
    fitted = transformer(**changes).fit(labeled[0])
    rows = fitted.transform(labeled[0][:2])
    assert rows.shape == (2, features)
    assert rows.dtype == np.float32
    assert len(fitted.get_feature_names_out()) == features
    assert np.isfinite(rows).all() and rows.std() > 0


def test_rows_are_the_networks_own(labeled: Labelled) -> None:
    fitted = transformer(taps="none", cache_dtype="float32").fit(labeled[0])
    network = fitted.network_.network
    with torch.inference_mode():
        plain = network.backbone(network.preprocess(labeled[0][:4]))
    np.testing.assert_allclose(fitted.transform(labeled[0][:4]), tapped(plain, whole=True), atol=1e-3)


def test_image_size_is_chosen_by_the_images(labeled: Labelled) -> None:
    fitted = transformer(image_size=None, taps="none").fit(labeled[0])
    assert fitted.image_size_ == 128


def test_rows_are_shared_with_the_classifier(labeled: Labelled, cache: Path) -> None:
    transformer(taps="none").fit_transform(labeled[0])
    model = TransferClassifier(weights="bundled", image_size=64, taps="none", epochs=1).fit(*labeled)
    assert model.frozen_pass_.from_cache == model.frozen_pass_.images == 60
    assert [store.rows for store in list_stores(cache)] == [60]


def test_nothing_is_cached_without_keep(labeled: Labelled, cache: Path) -> None:
    alone = transformer(taps="none", keep=False).fit_transform(labeled[0])
    assert list_stores(cache) == []
    np.testing.assert_allclose(alone, transformer(taps="none").fit_transform(labeled[0]), rtol=1e-2, atol=1e-2)


def test_pipeline_learns(labeled: Labelled, unseen: Labelled) -> None:
    pipeline = make_pipeline(transformer(), LogisticRegression(max_iter=300)).fit(*labeled)
    assert pipeline.score(*unseen) >= 0.9


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"freeze": "none"}, ConfigError, "freeze = 'none': features come from frozen stages"),
        ({"freeze": "conv3", "taps": ("conv3", "conv5")}, ConfigError, "taps: conv5 lies above conv3"),
        ({"taps": ("conv0",)}, UnknownNameError, "unknown stage of alexnet 'conv0'"),
        ({"image_size": 20}, ConfigError, "63"),
    ],
)
def test_impossible_parameters_are_refused_by_fit(
    changes: dict[str, Any], error: type[Exception], words: str, labeled: Labelled
) -> None:
    with pytest.raises(error, match=words):
        transformer(**changes).fit(labeled[0])
