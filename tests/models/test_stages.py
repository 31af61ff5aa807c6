"""Cutting any module into stages, and the errors for modules that cannot be cut."""

import pytest
import torch
from torch import nn

from frostline.errors import ConfigError, UnknownNameError
from frostline.models.backbone import Backbone
from frostline.models.stages import cut


class Plain(nn.Module):
    """Convolutions in a list, a skip over two of them, a token-like parameter, optional arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(5)])
        self.shift = nn.Parameter(torch.randn(4, 1, 1))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        x = self.pool(self.stem(x)) + self.shift
        for block in self.blocks[:2]:
            x = torch.relu(block(x))
        x = x + self.blocks[3](self.blocks[2](x))
        x = self.blocks[4](x)
        if mask is not None:
            x = x * mask
        logits: torch.Tensor = self.fc(self.drop(x.mean((2, 3))))
        return logits


def test_stages_start_with_weights_and_end_at_a_single_value() -> None:
    pieces = cut(Plain(), "plain")
    assert [name for name, _ in pieces.stages] == ["stem", "blocks_0", "blocks_1", "blocks_3", "blocks_4"]
    assert pieces.head is not None
    assert list(pieces.head.state_dict()) == ["fc.weight", "fc.bias"]


@torch.no_grad()
def test_stages_equal_the_network_and_share_its_weights() -> None:
    network = Plain()
    backbone = Backbone.from_module(network, image_size=8)
    x = torch.rand(2, 3, 12, 12)
    torch.testing.assert_close(backbone(x), network(x), rtol=0, atol=0)
    network.shift.add_(1.0)
    torch.testing.assert_close(backbone(x), network(x), rtol=0, atol=0)
    kept = {key.partition(".")[2].partition(".")[2] for key in backbone.stages.state_dict(prefix="stages.")}
    assert kept | {"fc.weight", "fc.bias"} == set(network.state_dict())


def test_stages_that_are_named_end_with_those_modules() -> None:
    backbone = Backbone.from_module(Plain(), ["stem", "blocks.1", "blocks.3"], image_size=8, name="plain")
    assert backbone.stage_names == ["stem", "blocks_1", "blocks_3"]
    assert backbone.feature_stage == "blocks_3"
    assert backbone.classifier is not None
    assert {key.split(".")[0] for key in backbone.classifier.state_dict()} == {"blocks", "fc"}


def test_smallest_image_is_found_by_trying() -> None:
    assert Backbone.from_module(Plain(), image_size=8).min_image_size == 2  # the pooling halves it
    fixed = Backbone.from_module(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 3), nn.Linear(3, 2)), image_size=8
    )
    assert (fixed.min_image_size, fixed.intake.fixed) == (8, True)


class Branches(nn.Module):
    """Its control flow depends on values, so it cannot be recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x if x.sum() > 0 else self.conv(x)


@pytest.mark.parametrize(
    ("module", "stages", "message"),
    [
        (Branches(), None, "net cannot be cut into stages: its forward pass cannot be recorded"),
        (nn.ReLU(), None, "net cannot be cut into stages: none of its modules has weights"),
        (nn.Sequential(nn.Conv2d(3, 2, 1)), None, "net cannot be cut into stages: no place"),
        (Plain(), ["stem", "blocks.2"], "net cannot be cut after 'blocks_2': more than one value is used after it"),
        (Plain(), ["blocks.1", "stem"], "stages of net: expected modules in the order they run, each once: stem, pool"),
        (Plain(), [], "stages of net: expected modules in the order they run"),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.Linear(8, 2)),
            None,
            "net does not accept images of 8 x 8 pixels in three",
        ),
    ],
)
def test_modules_that_cannot_be_cut_are_rejected(module: nn.Module, stages: list[str] | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Backbone.from_module(module, stages, image_size=8, name="net")


def test_misspelled_module_error_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown module of net 'blocks\.9'.*Did you mean 'blocks"):
        Backbone.from_module(Plain(), ["blocks.9"], image_size=8, name="net")
