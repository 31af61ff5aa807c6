"""The search space and its first point."""

import pytest

from frostline.config import TrainConfig
from frostline.errors import ConfigError, UnknownNameError
from frostline.models.registry import outline
from frostline.studies.tune_space import (
    USUAL,
    Choice,
    Range,
    combinations,
    decision_order,
    make_space,
    searched_names,
    settings,
)

TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def settled(**changes):
    return TrainConfig(**{"data": "fashion-mnist", "taps": TAPS, "views": 1, "head": "linear", **changes})


def test_settings_that_are_set_are_not_searched_unless_named():
    assert searched_names(TrainConfig(data="x"), None) == USUAL
    config = TrainConfig(data="x", lr=0.01, head="mlp")
    assert searched_names(config, None) == ("weight_decay", "taps", "label_smoothing", "batch_size")
    assert searched_names(config, ("head", "lr")) == ("lr", "head")


def test_impossible_searches_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'freeze'"):
        searched_names(TrainConfig(data="x"), ("freez",))
    with pytest.raises(ConfigError, match="--head ridge chooses its only hyperparameter itself"):
        searched_names(TrainConfig(data="x", head="ridge"), None)
    with pytest.raises(ConfigError, match="nothing to search"):
        searched_names(TrainConfig(data="x"), ())


def test_the_search_begins_with_the_settings_themselves():
    config = settled(lr=0.5, head="mlp", hidden_width=32, batch_size=100, weight_decay=0.0, freeze="conv4", views=2)
    names = ("lr", "weight_decay", "head", "taps", "batch_size", "freeze", "augment")
    space, start = make_space(names, config, outline("alexnet"))
    assert settings(space, start) == {
        "lr": 0.5, "weight_decay": 1e-3, "head": "mlp", "hidden_width": 32, "taps": TAPS, "batch_size": 100,
        "freeze": "conv4", "views": 2,
    }  # fmt: skip
    rate = space["lr"]
    assert isinstance(rate, Range) and rate.high == 0.5 and rate.low < 1e-4
    assert list(space["freeze"].options) == ["conv4", "conv3", "conv2"]


def test_taps_are_the_widest_and_those_that_leave_early_stages_out():
    space, start = make_space(("taps",), settled(), outline("alexnet"))
    assert [option["taps"] for option in space["taps"].options.values()] == [TAPS[first:] for first in range(5)]
    assert start == {"taps": ",".join(TAPS)}


def test_head_and_boundary_are_decided_first():
    space, _ = make_space(("lr", "taps", "head", "freeze"), settled(freeze="conv5"), outline("alexnet"))
    assert set(decision_order(space)[:2]) == {"head", "freeze"}
    assert sorted(decision_order(space)) == sorted(space)


def test_combinations_are_of_named_options():
    space, _ = make_space(("lr", "head", "batch_size"), settled(), outline("alexnet"))
    found = combinations(space)
    assert len(found) == 2 * 2 and {"head": "mlp 64", "batch_size": "128"} in found
    assert combinations({"lr": space["lr"]}) == [{}]
    assert settings(space, {"head": "mlp 64"}) == {"head": "mlp", "hidden_width": 64}


def test_ridge_is_an_option_where_train_would_choose_it():
    few, start = make_space(("lr", "head"), settled(head="ridge"), outline("alexnet"))
    assert settings(few, start)["head"] == "ridge"
    assert list(few["head"].options) == ["linear", "ridge", "mlp 64"]
    many, start = make_space(("lr", "head"), settled(), outline("alexnet"))
    assert list(many["head"].options) == ["linear", "mlp 64"]
    assert few["lr"] == many["lr"]


def test_single_options_are_not_searched():
    space, _ = make_space(("taps", "head"), settled(taps=("conv3",)), outline("alexnet"))
    assert list(space) == ["head"] and isinstance(space["head"], Choice)
