"""Named stages of a backbone: order, lookup and shared weights."""

import pytest
import torch

from frostline.errors import UnknownNameError
from frostline.models.backbone import channels_last
from frostline.models.registry import load_backbone, outline


def test_position_follows_the_order() -> None:
    backbone = outline("alexnet")
    assert [backbone.position(name) for name in ("conv1", "conv5", "fc7")] == [0, 4, 6]


@pytest.mark.parametrize(("name", "near"), [("conv55", "conv5"), ("Conv3", "conv3"), ("fc77", "fc7")])
def test_unknown_stage_error_suggests_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        outline("alexnet").position(name)
    assert str(error.value) == (
        f"unknown stage of alexnet '{name}': expected one of conv1, conv2, conv3, conv4, conv5, fc6, fc7. "
        f"Did you mean '{near}'?"
    )


def test_part_of_the_network_shares_its_weights() -> None:
    backbone = load_backbone(weights="random", last="conv3")
    part = backbone.between("conv1", "conv3")
    assert len(part) == 2
    assert part[0] is backbone.stages["conv2"]
    assert len(backbone.between(None, "conv2")) == 2
    assert len(backbone.between("conv3", "conv3")) == 0


def test_consecutive_parts_equal_the_whole_network() -> None:
    backbone = load_backbone(weights="random", last="conv3")
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(backbone.between("conv1", "conv3")(backbone.between(None, "conv1")(x)), backbone(x))


def test_channels_last_changes_the_layout_not_the_numbers() -> None:
    layer = torch.nn.Conv2d(3, 4, 5)
    before = layer.weight.detach().clone()
    moved = channels_last(layer)
    assert moved.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(moved.weight.detach(), before)
