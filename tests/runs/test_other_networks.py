"""Runs on networks of other packages and on modules given from Python: frozen, half frozen, thawed, used again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from frostline._utils.progress import Progress
from frostline.data.dataset import Splits
from frostline.errors import ConfigError, RunError, WeightsError
from frostline.inference.classifier import Classifier, evaluate_run
from frostline.models.backbone import Backbone
from frostline.runs.bundle import load_bundle
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.small_run import InterruptTraining, small_config

SMALL = {"image_size": 32, "limit": 96, "epochs": 1, "taps": "auto", "lr": None, "batch_size": 19}
TOGETHER = {"schedule": "together"}


class Small(nn.Module):
    """A network of one's own, with batch norm and a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([Residual(8), Residual(8)])
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


def small_network(seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    return Backbone.from_module(Small(), image_size=32)


@pytest.fixture
def train(small_fashion: Path, tmp_path: Path, cache: Path) -> Any:
    def run(
        name: str,
        backbone: Backbone | None = None,
        resume: bool = False,
        progress: Progress | None = None,
        **changes: Any,
    ) -> Run:
        config = small_config(small_fashion, **{**SMALL, **changes})
        folder = tmp_path / "runs"
        return fit(
            config, name=name, output_dir=folder, cache_dir=cache, backbone=backbone, resume=resume, progress=progress
        )

    return run


@pytest.mark.parametrize("freeze", ["auto", "layer2", "none"])
def test_a_run_of_timm_is_measured_and_predicts_again(train: Any, fashion: Splits, cache: Path, freeze: str) -> None:
    run = train("resnet", model="timm:resnet18", freeze=freeze, **TOGETHER)
    # 77 training images in batches of 19: the last one is alone, and layer4's maps are 1 x 1
    assert run.config.freeze == {"auto": "layer4"}.get(freeze, freeze)
    assert (run.config.model, run.config.weights, run.config.image_size) == ("timm:resnet18", "random", 32)
    assert run.metrics["model"]["name"] == "timm:resnet18"
    again = evaluate_run(run, cache_dir=cache)
    assert again["test"]["accuracy"] == pytest.approx(run.metrics["test"]["accuracy"])
    assert again["test"]["loss"] == pytest.approx(run.metrics["test"]["loss"], abs=1e-3)
    classifier = Classifier.load(run.folder)
    assert classifier.predict_proba(np.asarray(fashion.test.images[:3])).shape == (3, 10)


def test_statistics_of_frozen_batch_norm_are_kept_and_thawed_ones_learn(train: Any) -> None:
    run = train("half", model="timm:resnet18", freeze="layer2", ema=0.5, **TOGETHER)
    state = load_bundle(run.model_folder).backbone.state_dict()
    for key, value in state.items():
        if key.endswith("running_mean"):
            assert bool(value.any()) == ("layer3" in key or "layer4" in key), key


def test_a_stopped_fine_tuning_goes_on_to_the_same_weights(train: Any) -> None:
    settings = {"model": "timm:resnet18", "freeze": "layer3", "epochs": 2, "head_epochs": 1, "ema": 0.9}
    whole = train("whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        train("stopped", **settings, progress=InterruptTraining(10))
    resumed = train("stopped", **settings, resume=True)
    expected, found = (load_bundle(run.model_folder).backbone.state_dict() for run in (whole, resumed))
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)


def test_size_mean_and_interpolation_are_the_networks_own(train: Any) -> None:
    run = train("vit", model="timm:vit_tiny_patch16_224", image_size=None, limit=60, freeze="blocks_5", head_epochs=1)
    preprocess = load_bundle(run.model_folder).preprocess
    assert (preprocess.image_size, preprocess.mean, preprocess.interpolation) == (224, (0.5, 0.5, 0.5), "bicubic")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "timm:vit_tiny_patch16_224"},
            "--image-size 32 does not suit timm:vit_tiny_patch16_224: it accepts only 224 pixels.",
        ),
        ({"model": "timm:resnet18", "freeze": "layer4", "cutmix": 1.0}, "--cutmix needs feature maps"),
        (
            {"model": "timm:resnet18", "freeze": "layer5"},
            "unknown stage of timm:resnet18 'layer5'.*Did you mean 'layer",
        ),
        ({"model": "timm:resnet18", "freeze": "layer2", "head": "ridge"}, "freeze layer4 or above"),
    ],
)
def test_what_a_network_cannot_do_is_refused_at_once(train: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train("refused", **changes)


@pytest.mark.parametrize("freeze", ["auto", "stem", "none"])
def test_a_network_of_ones_own_is_trained_and_loaded_with_it(train: Any, fashion: Splits, freeze: str) -> None:
    backbone = small_network()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    run = train("mine", backbone, freeze=freeze, lr=0.01, **TOGETHER)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())
    assert run.config.model == backbone.name == f"{__name__}.Small"
    assert run.metrics["weights"]["name"] == "given"
    images = np.asarray(fashion.test.images[:5])
    first = Classifier.load(run.folder, backbone=backbone).predict_proba(images)
    other = Classifier.load(run.folder, backbone=small_network(seed=7)).predict_proba(images)
    np.testing.assert_array_equal(first, other)  # the weights are the bundle's


def test_a_network_of_ones_own_is_asked_for_when_it_is_missing(train: Any) -> None:
    run = train("mine", small_network())
    with pytest.raises(RunError, match=r"uses .*Small, a network that was passed to frostline\.fit: load it in Python"):
        Classifier.load(run.folder)
    wrong = Backbone.from_module(Small(), image_size=32, name="another")
    with pytest.raises(RunError, match="Small, not another"):
        Classifier.load(run.folder, backbone=wrong)


def test_other_weights_of_ones_own_are_not_resumed(train: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train("mine", small_network(), epochs=4, progress=InterruptTraining(6))
    with pytest.raises(WeightsError, match="the weights 'given' have SHA-256"):
        train("mine", small_network(seed=1), epochs=4, resume=True)
    assert train("mine", small_network(), epochs=4, resume=True).finished


def test_networks_that_differ_in_a_stride_share_no_features(train: Any) -> None:
    first = train("first", small_network())
    torch.manual_seed(0)
    module = Small()
    module.stem.stride = (1, 1)
    second = train("second", Backbone.from_module(module, image_size=32))
    assert [run.metrics["frozen_pass"]["from_cache"] for run in (first, second)] == [0, 0]
