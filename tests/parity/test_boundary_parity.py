import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from frostline.models.alexnet import STAGES
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, TAP_GRID, Frozen, Thawed, make_boundary
from tests.parity.measures import largest_gap


def batch(size: int) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("freeze", [NONE, *STAGES])
@torch.inference_mode()
def test_thawed_of_frozen_equals_the_whole_network(backbone: Backbone, freeze: str, size: int) -> None:
    boundary = make_boundary(backbone, freeze, ())
    assert boundary.end == (freeze if freeze in ("fc6", "fc7") else "conv5")
    whole = backbone.between(None, boundary.end)(batch(size))
    cut = Thawed(backbone, boundary, size)(Frozen(backbone, boundary)(batch(size)))
    assert largest_gap(cut, whole) < 1e-6


@pytest.mark.parametrize("freeze", STAGES)
def test_every_stage_stands_on_one_side_of_the_boundary(backbone: Backbone, freeze: str) -> None:
    boundary = make_boundary(backbone, freeze, ())
    below, above = Frozen(backbone, boundary).stages.values(), list(Thawed(backbone, boundary, 64).stages.values())
    layers = [layer for stage in below for layer in stage] + above
    stages = list(backbone.stages.values())[: backbone.position(boundary.end) + 1]
    whole = [layer for stage in stages for layer in stage]
    flat = [layer for item in layers for layer in (item if isinstance(item, torch.nn.Sequential) else [item])]
    assert [id(layer) for layer in flat] == [id(layer) for layer in whole]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("taps", [("conv1",), ("conv2", "conv5"), STAGES[:5], ("conv3", "fc7"), STAGES])
@torch.inference_mode()
def test_taps_are_the_stages_outputs_side_by_side(backbone: Backbone, taps: tuple[str, ...], size: int) -> None:
    boundary = make_boundary(backbone, taps[-1], taps)
    x, parts = batch(size), []
    for name in STAGES[: STAGES.index(taps[-1]) + 1]:
        x = backbone.stages[name](x)
        if name in taps:
            pooled = x.ndim == 4 and name != taps[-1] and x.shape[-1] > TAP_GRID
            parts.append((F.adaptive_avg_pool2d(x, TAP_GRID) if pooled else x).flatten(1))
    row = Thawed(backbone, boundary, size)(
        Frozen(backbone, boundary)(batch(size))
    )  # nothing is left to thaw: rows as kept
    assert row.shape == (3, sum(part.shape[1] for part in parts))
    assert largest_gap(row, torch.cat(parts, 1)) < 1e-6


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("taps", [(), ("conv5",), ("conv1", "conv3", "conv5"), STAGES[:5]])
@pytest.mark.parametrize("freeze", [NONE, *STAGES[:5]])
@torch.inference_mode()
def test_the_head_reads_the_same_wherever_the_boundary_lies(
    backbone: Backbone, freeze: str, taps: tuple[str, ...], size: int
) -> None:
    boundary = make_boundary(backbone, freeze, taps)
    rows = Frozen(backbone, boundary)(batch(size))
    read = Thawed(backbone, boundary, size)(rows)
    assert largest_gap(read, Frozen(backbone, boundary.closed)(batch(size))) < 1e-6


@torch.inference_mode()
def test_the_boundary_may_lie_above_the_last_tap(backbone: Backbone) -> None:
    boundary = make_boundary(backbone, "conv4", ("conv3", "conv1", "conv1"))
    assert boundary.taps == ("conv1", "conv3")
    conv1 = backbone.between(None, "conv1")(batch(96))
    conv3 = backbone.between(None, "conv3")(batch(96))
    expected = torch.cat([F.adaptive_avg_pool2d(conv1, TAP_GRID), F.adaptive_avg_pool2d(conv3, TAP_GRID)], 1)
    assert largest_gap(Frozen(backbone, boundary)(batch(96)), expected.flatten(1)) < 1e-6


def test_frozen_stages_stay_in_eval_mode_and_get_no_gradient(backbone: Backbone) -> None:
    boundary = make_boundary(backbone, "fc6", ())
    frozen = Frozen(backbone, boundary).train()
    with torch.no_grad():
        assert torch.equal(frozen(batch(64)), frozen(batch(64)))  # dropout before fc6 would differ
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
