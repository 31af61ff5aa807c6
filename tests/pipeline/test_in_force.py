"""Which settings of a training are in force."""

import pytest

from frostline.config import TrainConfig
from frostline.pipeline.in_force import in_force, in_force_of_run

DESCENT = {"lr", "weight_decay", "batch_size", "epochs", "label_smoothing", "patience", "optimizer", "clip_norm"}
THAWED = {"schedule", "head_epochs", "head_lr", "layer_decay", "batch_norm", "amp"}


def names(thaws=False, **changes):
    return in_force(TrainConfig(data="mine", **{"head": "linear", **changes}), thaws=thaws)


def test_a_head_in_closed_form_has_a_prior_and_nothing_of_gradient_descent():
    assert not names(head="ridge") & DESCENT
    assert names() >= DESCENT
    assert "prior" in names(head="ridge") and "prior" not in names() | names(head="mlp")
    assert {"taps", "views", "class_weights", "seed"} <= names(head="ridge")


def test_hidden_units_and_dropout_are_those_of_an_mlp():
    assert {"hidden_width", "dropout"} <= names(head="mlp")
    assert not {"hidden_width", "dropout"} & (names() | names(head="ridge"))


def test_momentum_is_that_of_sgd():
    assert "momentum" in names(optimizer="sgd") and "momentum" not in names(optimizer="adamw")


def test_thawed_stages_have_settings_of_their_own():
    assert not names() & THAWED
    assert names(thaws=True) >= THAWED
    assert names(thaws=True, schedule="together") & THAWED == THAWED - {"head_epochs", "head_lr"}


@pytest.mark.parametrize(
    ("changes", "metrics", "expected"),
    [
        ({"head_epochs": 12}, None, True),
        ({}, None, False),
        ({"schedule": "together"}, {"model": {"schedule": None}}, False),
        ({"schedule": "together"}, {"model": {"schedule": "together"}}, True),
        ({"schedule": "together"}, {"model": {}}, True),
        ({"schedule": "together", "head": "ridge"}, None, False),
    ],
)
def test_a_run_says_whether_it_thawed_stages(changes, metrics, expected):
    config = TrainConfig(data="mine", **{"head": "linear", **changes})
    assert ("layer_decay" in in_force_of_run(config, metrics)) is expected
