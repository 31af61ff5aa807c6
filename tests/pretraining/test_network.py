"""The pre-training network and the plain convolutions it is exported to."""

import pytest
import torch

from frostline.models import alexnet
from frostline.models.registry import load_backbone
from frostline.synthetic.scene import Program, draw_images
from tools.pretraining.losses import SIDE, SKETCHES
from tools.pretraining.network import MAP, STAGES, Pretraining, smooth_


@pytest.fixture(scope="module")
def network():
    """A network with updated normalization statistics."""
    torch.manual_seed(0)
    network = Pretraining(7, 5, texture_stage="conv3", sketch_stages=("conv4", "conv5"))
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
    images = torch.rand(4, 3, 128, 128)
    with torch.inference_mode():
        features = plain(network)((images - network.mean) / network.std)
        assert features.shape == (4, 256, MAP, MAP)
        expected = network(images)
        assert torch.allclose(network.object_head(features.flatten(1)), expected.objects, atol=1e-4)
        assert torch.allclose(network.sketch_heads["conv5"](features.flatten(1)), expected.sketches[-1], atol=1e-4)


def test_the_plain_network_is_torchvisions_feature_part(network):
    state = network.plain_state()
    assert list(state) == [f"features.{layer}.{part}" for layer in (0, 3, 6, 8, 10) for part in ("weight", "bias")]
    assert sum(tensor.numel() for tensor in state.values()) == 2_469_696


@pytest.mark.parametrize("size", [64, 96, 128])
def test_output_shape_does_not_depend_on_the_image_size(network, size):
    outputs = network(torch.rand(2, 3, size, size))
    assert outputs.objects.shape == (2, 7) and outputs.textures.shape == (2, 5)
    assert [sketch.shape for sketch in outputs.sketches] == [(2, len(SKETCHES) * SIDE**2)] * 2


def test_smoothing_takes_the_noise_and_leaves_the_spread():
    noise = torch.randn(64, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    smooth = noise.clone()
    smooth_(smooth)
    assert smooth.std() == pytest.approx(float(noise.std()), rel=1e-4)

    def between_neighbors(filters):
        return float((filters[..., 1:] - filters[..., :-1]).std() / filters.std())

    assert between_neighbors(noise) == pytest.approx(2**0.5, rel=0.05)
    assert between_neighbors(smooth) < 0.6
    assert smooth[..., 0].abs().mean() < 0.1 * smooth[..., 5].abs().mean()


def test_conv1_alone_starts_smooth():
    torch.manual_seed(0)
    network = Pretraining(7, 5, texture_stage="conv3", sketch_stages=())
    roughness = [
        float((weight[..., 1:] - weight[..., :-1]).std() / weight.std())
        for weight in (network.stages[name].convolution.weight.detach() for name in ("conv1", "conv2"))
    ]
    assert roughness[0] < 0.6 and roughness[1] > 1.3


def taught(network):
    return [name for name, part in network.stages.items() if part.convolution.weight.grad is not None]


@pytest.mark.parametrize("stage", STAGES)
def test_each_head_teaches_its_stage_and_those_below(stage):
    network = Pretraining(0, 5, texture_stage=stage, sketch_stages=())
    network(torch.rand(4, 3, 64, 64)).textures.sum().backward()
    assert taught(network) == list(STAGES[: STAGES.index(stage) + 1])
    network = Pretraining(0, 5, texture_stage="conv1", sketch_stages=(stage,))
    network(torch.rand(4, 3, 64, 64)).sketches[0].sum().backward()
    assert taught(network) == list(STAGES[: STAGES.index(stage) + 1])


def test_object_head_is_optional():
    assert Pretraining(0, 5, "conv5", ("conv5",))(torch.rand(4, 3, 64, 64)).objects is None


def test_beginning_with_plain_convolutions_changes_nothing_and_normalizes_them():
    backbone = load_backbone(weights="bundled")
    images = draw_images(Program(), torch.arange(16), 128)
    network = Pretraining(7, 5, texture_stage="conv5", sketch_stages=())
    network.take_over(backbone, images)
    assert network.training
    network.eval()
    x = (images - network.mean) / network.std
    with torch.inference_mode():
        expected = backbone.between(None, "conv5")(x)
        assert torch.allclose(plain(network)(x), expected, atol=1e-3, rtol=1e-3)
        outputs = network.stages["conv1"].convolution(x)
    assert outputs.std((0, 2, 3)).numpy() == pytest.approx(1, abs=1e-3)
