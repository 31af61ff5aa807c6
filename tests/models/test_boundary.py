"""The freeze boundary: frozen and thawed stages, taps and rows."""

import pytest
import torch
from torch import nn

from frostline.errors import UnknownNameError
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, TAP_GRID, Boundary, Frozen, Thawed, make_boundary, row_stages, tapped
from frostline.models.registry import load_backbone, outline

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")


@pytest.fixture(scope="module")
def shape() -> Backbone:
    return outline("alexnet")


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone(weights="random", last="conv5")


@pytest.mark.parametrize(
    ("freeze", "taps", "expected"),
    [
        ("conv5", (), Boundary("conv5", (), "conv5")),
        ("conv3", (), Boundary("conv3", (), "conv5")),
        ("fc6", (), Boundary("fc6", (), "fc6")),
        ("none", (), Boundary("none", (), "conv5")),
        ("conv4", ("conv2",), Boundary("conv4", ("conv2",), "conv4")),
        ("conv2", ("conv4", "conv1"), Boundary("conv2", ("conv1", "conv4"), "conv4")),
        ("none", ("conv1", "conv3"), Boundary("none", ("conv1", "conv3"), "conv3")),
        ("conv5", ("conv5", "conv2", "conv3", "conv2"), Boundary("conv5", ("conv2", "conv3", "conv5"), "conv5")),
    ],
)
def test_boundary_determines_the_last_stage(
    shape: Backbone, freeze: str, taps: tuple[str, ...], expected: Boundary
) -> None:
    assert make_boundary(shape, freeze, taps) == expected


@pytest.mark.parametrize(("freeze", "taps"), [("conv9", ()), ("conv5", ("conv0",)), ("None", ())])
def test_unknown_stage_is_refused_by_name(shape: Backbone, freeze: str, taps: tuple[str, ...]) -> None:
    with pytest.raises(UnknownNameError, match="unknown stage of alexnet"):
        make_boundary(shape, freeze, taps)


@pytest.mark.parametrize("freeze", ["none", "conv1", "conv3", "conv5"])
def test_frozen_and_thawed_stages_are_all_stages(backbone: Backbone, freeze: str) -> None:
    boundary = make_boundary(backbone, freeze, ())
    frozen, above = Frozen(backbone, boundary), Thawed(backbone, boundary, 64)
    assert [*frozen.stages.values(), *above.stages.values()] == list(backbone.stages.values())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in above.parameters())


def test_frozen_stages_never_leave_eval_mode() -> None:
    stage = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    network = Backbone("tiny", [("one", stage)], min_image_size=3, feature_stage="one")
    frozen = Frozen(network, Boundary("one", (), "one"))
    x = torch.rand(8, 3, 6, 6)
    before = stage[1].running_mean.clone()
    frozen.train()
    first = frozen(x)
    torch.testing.assert_close(frozen(x), first)
    torch.testing.assert_close(stage[1].running_mean, before)
    assert not any(module.training for module in frozen.modules())


def test_frozen_output_carries_no_gradient(backbone: Backbone) -> None:
    assert not Frozen(backbone, make_boundary(backbone, "conv2", ()))(torch.rand(1, 3, 64, 64)).requires_grad


def test_boundary_alone_is_read_as_it_is(backbone: Backbone) -> None:
    x = torch.rand(2, 3, 128, 128)
    frozen = Frozen(backbone, make_boundary(backbone, "conv5", ()))
    torch.testing.assert_close(frozen(x), backbone(x))
    assert frozen(x).shape == (2, 256, 3, 3)


def test_nothing_frozen_gives_the_pixels_back(backbone: Backbone) -> None:
    x = torch.rand(2, 3, 64, 64)
    assert Frozen(backbone, make_boundary(backbone, NONE, ()))(x) is x


def test_taps_are_averaged_grids_one_after_the_other(backbone: Backbone) -> None:
    x = torch.rand(2, 3, 224, 224)
    frozen = Frozen(backbone, make_boundary(backbone, "conv5", ("conv1", "conv5")))
    conv1 = backbone.between(None, "conv1")(x)  # (2, 64, 27, 27)
    rows = frozen(x)
    assert rows.shape == (2, 64 * TAP_GRID**2 + 256 * 6 * 6)  # the boundary's own output is read whole
    torch.testing.assert_close(rows[:, 64 * TAP_GRID**2 :], backbone(x).flatten(1))
    cell = -(-27 // TAP_GRID)  # the first cell of the grid averages so many rows and columns
    grid = rows[:, : 64 * TAP_GRID**2].reshape(2, 64, TAP_GRID, TAP_GRID)
    torch.testing.assert_close(grid[:, :, 0, 0], conv1[:, :, :cell, :cell].mean((2, 3)))
    torch.testing.assert_close(grid[:, :, -1, -1], conv1[:, :, -cell:, -cell:].mean((2, 3)))


@pytest.mark.parametrize(
    ("shape", "whole", "features"),
    [
        ((2, 5, 9, 9), False, 5 * TAP_GRID**2),
        ((2, 5, 9, 9), True, 5 * 81),
        ((2, 5, 2, 2), False, 5 * 4),
        ((2, 7), False, 7),
    ],
)
def test_small_maps_are_not_averaged(shape: tuple[int, ...], whole: bool, features: int) -> None:
    assert tapped(torch.rand(shape), whole=whole).shape == (2, features)


@pytest.mark.parametrize(
    ("freeze", "taps", "kept"),
    [
        ("conv5", (), ()),
        ("conv5", ("conv1", "conv5"), ("conv1", "conv5")),
        ("conv4", ("conv2",), ("conv2",)),  # nothing runs above: the boundary itself is not needed
        ("conv3", ("conv1", "conv5"), ("conv1", "conv3")),  # conv4 runs on conv3's map
        ("conv3", ("conv3", "conv5"), ()),  # the map alone, as it is
        ("conv3", (), ()),
        ("none", ("conv1", "conv5"), ()),
    ],
)
def test_row_contains_what_the_stages_above_need(
    shape: Backbone, freeze: str, taps: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    assert row_stages(shape, make_boundary(shape, freeze, taps)) == kept


def test_a_head_trained_with_everything_frozen_fits_the_boundary(shape: Backbone) -> None:
    boundary = make_boundary(shape, "conv2", ("conv1", "conv5"))
    assert boundary.closed == make_boundary(shape, "conv5", ("conv1", "conv5"))
