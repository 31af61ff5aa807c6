"""The network that learns, and the plain one that it becomes."""

import pytest
import torch

from frostline.networks import alexnet
from frostline.pretrain.network import MAP, STAGES, Pretraining


@pytest.fixture(scope="module")
def network():
    """A network whose normalisations have seen something."""
    torch.manual_seed(0)
    network = Pretraining(objects=7, textures=5, texture_stage="conv3")
    for stage in network.stages.values():
        torch.nn.init.uniform_(stage.norm.weight, 0.5, 2)
        torch.nn.init.normal_(stage.norm.bias, std=0.2)
    for _ in range(3):
        network(torch.rand(8, 3, 64, 64))
    return network.eval()


def plain(network):
    backbone = alexnet.build("conv5")
    state = network.plain_state()
    backbone.load_state_dict({key: state[alexnet.published_key(key)] for key in backbone.state_dict()}, assign=True)
    return torch.nn.Sequential(*backbone.stages.values()).eval()


def test_folding_changes_nothing(network):
    pictures = torch.rand(4, 3, 128, 128)
    with torch.inference_mode():
        features = plain(network)((pictures - network.mean) / network.std)
        assert features.shape == (4, 256, MAP, MAP)
        expected, _ = network(pictures)
        assert torch.allclose(network.object_head(features.flatten(1)), expected, atol=1e-4)


def test_the_plain_network_is_torchvisions_feature_part(network):
    state = network.plain_state()
    assert list(state) == [f"features.{layer}.{part}" for layer in (0, 3, 6, 8, 10) for part in ("weight", "bias")]
    assert sum(tensor.numel() for tensor in state.values()) == 2_469_696


@pytest.mark.parametrize("size", [64, 96, 128])
def test_every_size_gives_logits_of_both_kinds(network, size):
    objects, textures = network(torch.rand(2, 3, size, size))
    assert objects.shape == (2, 7) and textures.shape == (2, 5)


@pytest.mark.parametrize("stage", STAGES)
def test_the_texture_head_teaches_its_stage_and_those_below(stage):
    network = Pretraining(objects=7, textures=5, texture_stage=stage)
    network(torch.rand(4, 3, 64, 64))[1].sum().backward()
    taught = [name for name, part in network.stages.items() if part.convolution.weight.grad is not None]
    assert taught == list(STAGES[: STAGES.index(stage) + 1])
