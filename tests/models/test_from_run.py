"""Weights from another run."""

import shutil
from pathlib import Path

import pytest
import torch

from frostline._utils.hashing import sha256_file
from frostline.config import TrainConfig, read_config
from frostline.errors import RunError, WeightsError
from frostline.models.registry import load_backbone
from frostline.runs.bundle import load_bundle
from frostline.runs.fit import fit
from frostline.runs.folder import Run

SMALL = {"data": "fashion-mnist", "limit": 150, "image_size": 64, "epochs": 1, "head": "linear", "taps": ()}


@pytest.fixture(scope="module")
def trained(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that trained ``conv5``."""
    place = tmp_path_factory.mktemp("trained")
    config = TrainConfig(**SMALL, data_dir=small_fashion, weights="bundled", freeze="conv4")
    return fit(config, name="first", output_dir=place / "runs", cache_dir=place / "cache")


@pytest.fixture
def copied(trained: Run, tmp_path: Path) -> Path:
    """A copy for tests that damage it."""
    return Path(shutil.copytree(trained.folder, tmp_path / "first"))


def test_the_trained_stages_are_loaded_from_a_run_or_its_bundle(trained: Run) -> None:
    own, start = load_bundle(trained.model_folder).backbone, load_backbone(weights="bundled")
    for folder in (trained.folder, trained.model_folder):
        backbone = load_backbone(weights=str(folder))
        for key, tensor in backbone.state_dict().items():
            assert torch.equal(tensor, own.state_dict()[key])
        assert backbone.origin is not None
        assert backbone.origin.sha256 == sha256_file(trained.model_folder / "model.safetensors")
        assert backbone.origin.reason == f"the stages of run '{folder.name}', as requested"
    changed = "stages.conv5.0.weight"
    assert not torch.equal(backbone.state_dict()[changed], start.state_dict()[changed])
    assert len(load_backbone(weights=str(trained.folder), last="conv2").state_dict()) == 4


def test_run_starts_from_another_run_and_can_be_repeated(trained: Run, small_fashion: Path, tmp_path: Path) -> None:
    config = TrainConfig(**SMALL, data_dir=small_fashion, weights=str(trained.folder))
    second = fit(config, name="second", output_dir=tmp_path / "runs")
    assert second.metrics["weights"]["name"] == str(trained.folder)
    settings = read_config(second.folder / "config.toml")
    assert settings["weights_sha256"] == sha256_file(trained.model_folder / "model.safetensors")
    again = fit(TrainConfig(**settings), name="again", output_dir=tmp_path / "runs")
    assert again.metrics["test"] == second.metrics["test"]
    stages = load_bundle(second.model_folder).backbone.state_dict()
    for key, tensor in load_bundle(trained.model_folder).backbone.state_dict().items():
        assert torch.equal(stages[key], tensor)  # all frozen: as they were


def test_mismatched_weights_are_rejected(trained: Run, copied: Path) -> None:
    with pytest.raises(WeightsError, match=r"is a model of alexnet, not of timm:resnet18: use"):
        load_backbone("timm:resnet18", str(trained.folder))
    with pytest.raises(WeightsError, match=r"'stages\.fc6\.\d\.weight' of shape \(4096, 9216\) is missing"):
        load_backbone(weights=str(trained.folder), last="fc6")
    shutil.rmtree(copied / "model")
    with pytest.raises(WeightsError, match="first: the folder holds no finished model"):
        load_backbone(weights=str(copied))


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "manifest.json"])
def test_a_damaged_model_is_rejected(copied: Path, name: str) -> None:
    path = copied / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises((WeightsError, RunError), match=name.replace(".", r"\.")):
        load_backbone(weights=str(copied))
