"""Writing the weight file."""

import pytest
import torch

from frostline._utils.hashing import sha256_file
from frostline.errors import WeightsError
from frostline.models.registry import load_backbone
from frostline.models.weights import read_record
from tools.pretraining.export import write_weights
from tools.pretraining.network import Pretraining


@pytest.fixture
def state():
    torch.manual_seed(0)
    return Pretraining(3, 3, "conv5", ()).plain_state()


def test_the_file_is_a_weight_file_with_a_record(state, tmp_path):
    path = tmp_path / "mine.safetensors"
    digest = write_weights(state, path, {"images": 7})
    assert digest == sha256_file(path)
    assert path.stat().st_size < 5.2e6
    assert read_record(path) == {"images": 7}
    backbone = load_backbone(weights=str(path))
    assert torch.equal(backbone.stages["conv2"][0].weight, state["features.3.weight"].half().float())


@pytest.mark.parametrize("wrong", [float("nan"), 1e6])
def test_values_outside_float16_are_rejected(state, tmp_path, wrong):
    state["features.6.bias"][3] = wrong
    with pytest.raises(WeightsError, match=r"'features\.6\.bias' holds values outside the range of float16"):
        write_weights(state, tmp_path / "mine.safetensors", {})
    assert list(tmp_path.iterdir()) == []
