"""A network is loaded once for many fits, and fits do not affect each other."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from frostline.models.backbone import Backbone
from frostline.models.registry import load_backbone, weights_digest
from frostline.sklearn.base import load_cached


def mine(path: Path, seed: int) -> Path:
    """Write a weight file of the first stage."""
    state = load_backbone("alexnet", "random", last="conv1", seed=seed).state_dict()
    save_file({f"features.0.{kind}": state[f"stages.conv1.0.{kind}"].contiguous() for kind in ("weight", "bias")}, path)
    return path


def load(weights: Path | str, cache: Path) -> Backbone:
    return load_cached("alexnet", str(weights), last="conv1", seed=0, cache_dir=cache)


def test_changes_to_a_loaded_network_do_not_come_back(cache: Path) -> None:
    first = load("bundled", cache)
    before = weights_digest(first)
    with torch.no_grad():
        first.stages["conv1"][0].weight.zero_()
    again = load("bundled", cache)
    assert weights_digest(again) == before
    assert again.origin is not None and again.origin.name == "bundled"


def test_changed_file_is_read_again(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    digests = [weights_digest(load(mine(path, seed), cache)) for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
