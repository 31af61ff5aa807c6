"""Networks that show their maps: the same answers, and the map of each stage where it has places."""

import pytest
import torch
from torch import nn

from frostline.inference.maps import MappedNetwork, map_side
from frostline.models.backbone import Backbone
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import find_network


def mapped(backbone: Backbone, size: int, taps: tuple[str, ...] = (), last: str | None = None) -> tuple:
    """A network with a random head that shows its maps, and the plain way to the same logits."""
    end = last or backbone.stage_names[-1]
    boundary = make_boundary(backbone, end, taps)
    frozen = Frozen(backbone, boundary)
    with torch.no_grad():
        features = frozen(torch.zeros(1, 3, size, size)).flatten(1).shape[1]
    head = Head(HeadSpec("linear", features, 10))
    nn.init.normal_(head.first.weight, generator=torch.Generator().manual_seed(1))
    return MappedNetwork(backbone, boundary, head, size), nn.Sequential(frozen, head)


@pytest.mark.parametrize(
    ("name", "size", "last", "taps", "sides"),
    [
        ("alexnet", 64, "conv5", (), {"conv1": 15, "conv2": 7, "conv3": 3, "conv4": 3, "conv5": 3}),
        ("alexnet", 128, "conv5", ("conv2", "conv5"), {"conv1": 31, "conv2": 15, "conv3": 7, "conv4": 7, "conv5": 7}),
        ("alexnet", 64, "fc6", ("conv1", "fc6"), {"conv1": 15, "conv2": 7, "conv3": 3, "conv4": 3, "conv5": 3}),
        ("timm:resnet18", 64, None, (), {"conv1": 32, "layer1": 16, "layer2": 8, "layer3": 4, "layer4": 2}),
        (
            "timm:swin_tiny_patch4_window7_224",
            224,
            "layers_1",
            ("layers_1",),
            {"patch_embed": 56, "layers_0": 56, "layers_1": 28},
        ),
    ],
)
def test_answers_stay_and_every_map_has_its_stages_places(name, size, last, taps, sides) -> None:
    network, plain = mapped(find_network(name).build(last, seed=0), size, taps, last)
    x = torch.randn(2, 3, size, size)
    torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-3)
    assert network.sides == sides
    shown = {}
    for stage, module in network.maps.items():
        module.register_forward_hook(lambda _m, _i, value, stage=stage: shown.__setitem__(stage, value.shape[-2:]))
    network(x)
    assert shown == {stage: (side, side) for stage, side in sides.items()}


def test_tokens_are_laid_out_and_the_last_ones_that_nothing_reads_are_no_map() -> None:
    backbone = find_network("timm:vit_tiny_patch16_224").build(seed=0)
    network, plain = mapped(backbone, 224)
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(network(x), plain(x), rtol=1e-4, atol=1e-3)
    assert list(network.sides) == backbone.stage_names[:-1]
    assert set(network.sides.values()) == {14}
    x[:, :, :112] += 10 * torch.randn(1, 3, 112, 224)  # the upper half
    values = []
    network.maps["patch_embed"].register_forward_hook(lambda _m, _i, value: values.append(value))
    network(x)
    spread = values[0][0].std(0)  # (14, 14)
    assert spread[:7].min() > spread[7:].max()


class Own(nn.Module):
    """ReLU and mean are no modules, and the ReLU writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu_(self.second(torch.relu_(self.first(x))))
        logits: torch.Tensor = self.fc(x.mean((2, 3)))
        return logits


def test_a_network_of_ones_own_shows_its_maps() -> None:
    network, plain = mapped(Backbone.from_module(Own(), image_size=16), 16)
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(network(x), plain(x))
    assert network.sides == {"first": 8, "second": 4}


@pytest.mark.parametrize(
    ("shape", "side"),
    [((1, 8, 5, 5), 5), ((1, 5, 5, 8), 5), ((1, 8, 1, 1), 0), ((1, 197, 32), 14), ((1, 60, 32), 0), ((1, 512), 0)],
)
def test_sides_of_shapes(shape, side) -> None:
    assert map_side(torch.Size(shape)) == side
