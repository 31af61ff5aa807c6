"""The phases of a run."""

import pytest

from frostline.config import TrainConfig
from frostline.models.boundary import make_boundary
from frostline.models.registry import outline
from frostline.pipeline.phases import boundaries, plan_phases, shares, with_defaults


def phases(**settings):
    config = TrainConfig(data="fashion-mnist", head="linear", epochs=6, lr=1e-4, clip_norm=1.0, **settings)
    backbone = outline("alexnet")
    boundary = make_boundary(backbone, config.freeze, backbone.usual_taps)
    return plan_phases(with_defaults(config, boundary, 600), backbone, boundary)


def test_a_frozen_network_has_one_phase_with_the_settings_as_they_are():
    (only,) = phases(freeze="conv5", mixup=0.2, ema=0.9, views=3)
    assert only.boundary.freeze == "conv5"
    assert (only.recipe.epochs, only.recipe.lr, only.recipe.mixup, only.recipe.ema) == (6, 1e-4, 0.2, 0.9)
    assert [view.number for view in only.views] == [1, 2]


def test_the_head_is_trained_first_and_plainly():
    head, thawed = phases(
        freeze="conv3", head_epochs=20, head_lr=1e-2, mixup=0.2, cutmix=0.0, ema=0.9, views=3, label_smoothing=0.05
    )
    assert (head.boundary.freeze, thawed.boundary.freeze) == ("conv5", "conv3")
    assert (head.recipe.epochs, head.recipe.lr) == (20, 1e-2)
    assert (head.recipe.clip_norm, head.recipe.ema, head.recipe.mixup, head.views) == (0, 0, 0, [])
    assert (thawed.recipe.clip_norm, thawed.recipe.ema, thawed.recipe.mixup) == (1.0, 0.9, 0.2)
    assert head.recipe.label_smoothing == thawed.recipe.label_smoothing == 0.05
    assert len(thawed.views) == 2


def test_thawing_gradually_shares_the_epochs():
    steps = phases(freeze="conv2", schedule="gradual", head_epochs=3)
    assert [step.boundary.freeze for step in steps] == ["conv5", "conv4", "conv3", "conv2"]
    assert [step.recipe.epochs for step in steps] == [3, 2, 2, 2]


@pytest.mark.parametrize("views", [1, 4, 100])
def test_no_more_views_than_epochs(views):
    (step,) = phases(freeze="none", schedule="together", views=views)
    assert len(step.views) == min(views, 6) - 1


@pytest.mark.parametrize(
    ("freeze", "schedule", "expected"),
    [
        ("conv5", "head-first", ["conv5"]),
        ("conv5", "gradual", ["conv5"]),
        ("conv3", "head-first", ["conv5", "conv3"]),
        ("conv3", "gradual", ["conv5", "conv4", "conv3"]),
        ("conv3", "together", ["conv3"]),
        ("none", "head-first", ["conv5", "none"]),
        ("none", "gradual", ["conv5", "conv4", "conv3", "conv2", "conv1", "none"]),
        ("fc6", "gradual", ["fc6"]),
    ],
)
@pytest.mark.parametrize("taps", [(), ("conv1", "conv5")])
def test_boundaries_move_down_to_the_requested_one(freeze, schedule, expected, taps):
    backbone = outline("alexnet")
    boundary = make_boundary(backbone, freeze, taps if freeze != "fc6" else ())
    cuts = boundaries(backbone, boundary, schedule)
    assert [cut.freeze for cut in cuts] == expected
    assert cuts[-1] == boundary
    assert {(cut.taps, cut.end) for cut in cuts} == {(boundary.taps, boundary.end)}


@pytest.mark.parametrize(
    ("epochs", "phases", "expected"), [(12, 1, [12]), (12, 3, [4, 4, 4]), (10, 3, [3, 3, 4]), (2, 3, [1, 1, 1])]
)
def test_epochs_are_shared(epochs, phases, expected):
    assert shares(epochs, phases) == expected
