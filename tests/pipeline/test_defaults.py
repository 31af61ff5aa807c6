"""Unset options are resolved from the data."""

import pytest

from frostline.config import TrainConfig
from frostline.models.boundary import make_boundary
from frostline.models.registry import outline
from frostline.pipeline.phases import CLOSED_FORM_IMAGES, STEPWISE, stepwise, with_defaults
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from frostline.studies.tune_space import searched_settings

GIVEN = {
    "epochs": 3, "head_epochs": 2, "batch_size": 32, "optimizer": "sgd", "momentum": 0.5, "lr": 0.01, "head_lr": 0.01,
    "lr_schedule": "cosine", "warm_up": 0.1, "weight_decay": 0.0, "label_smoothing": 0.0, "ema": 0.9, "mixup": 0.2,
    "cutmix": 0.2, "compile": True, "patience": 3,
}  # fmt: skip


def head_of(images, freeze="conv5", **changes):
    config, backbone = TrainConfig(data="x", freeze=freeze, **changes), outline("alexnet")
    return with_defaults(config, make_boundary(backbone, freeze, backbone.usual_taps), images).head


def test_closed_form_head_is_the_default_for_few_images():
    assert head_of(20) == head_of(CLOSED_FORM_IMAGES) == "ridge"
    assert head_of(CLOSED_FORM_IMAGES + 1) == "linear"


@pytest.mark.parametrize("name", STEPWISE)
def test_gradient_descent_settings_select_a_trained_head(name):
    assert head_of(20, **{name: GIVEN[name]}) == "linear"
    assert head_of(20, head="mlp", **{name: GIVEN[name]}) == "mlp"


def test_views_and_taps_do_not_rule_out_the_closed_form():
    assert head_of(20, views=4, augment="flip=0", taps="none") == "ridge"


def test_thawed_stages_are_trained_and_so_is_their_head():
    assert head_of(20, freeze="conv4") == head_of(20, freeze="none") == "linear"


def test_requested_head_is_used():
    assert head_of(20, head="linear") == "linear"
    assert head_of(60_000, head="ridge") == "ridge"
    assert stepwise(TrainConfig(data="x", head="mlp")).head == "mlp"
    assert stepwise(TrainConfig(data="x")).head == "linear"


@pytest.mark.parametrize(
    ("model", "prior", "expected"),
    [
        ("alexnet", "auto", "drawn"),
        ("alexnet", "none", "none"),
        ("efficientnet-lite0", "auto", "none"),
        ("efficientnet-lite0", "drawn", "drawn"),
    ],
)
def test_the_prior_is_for_the_network_that_gains_from_it(model: str, prior: str, expected: str):
    config, backbone = TrainConfig(data="x", model=model, prior=prior), outline(model)
    boundary = make_boundary(backbone, backbone.feature_stage, ())
    assert with_defaults(config, boundary, 100).prior == expected


def test_search_includes_the_closed_form_only_for_the_head_alone():
    config = TrainConfig(data="x")
    assert searched_settings(config, ("lr", "head")).head == "auto"
    assert searched_settings(config, ("lr",)).head == "linear"
    assert searched_settings(config, ("head", "freeze")).head == "linear"


def test_run_on_few_images_uses_ridge_logs_it_and_can_be_repeated(small_fashion, cache, tmp_path):
    config = TrainConfig(
        data="fashion-mnist", data_dir=small_fashion, weights="random", image_size=64, taps="none", limit=240
    )
    run = fit(config, name="few", output_dir=tmp_path, cache_dir=cache)
    assert run.config.head == run.metrics["model"]["head"] == "ridge"
    assert (run.config.epochs, run.config.lr) == (None, None)
    assert "head: ridge, for 216 training images (--head chooses another)" in (run.folder / "log.txt").read_text()
    again = fit(Run(run.folder).config, name="again", output_dir=tmp_path, cache_dir=cache)
    assert again.metrics["test"] == run.metrics["test"]
    assert fit(config, name="few", output_dir=tmp_path, cache_dir=cache, resume=True).metrics == run.metrics
