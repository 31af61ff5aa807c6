"""Successive halving over images, and the features that trials share."""

import numpy as np
import pytest
import torch

from frostline.config import TrainConfig
from frostline.data.preprocess import Preprocess
from frostline.features.forward import FastForward
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import load_backbone
from frostline.pipeline.context import Context, feature_settings
from frostline.pipeline.extract import read_rows
from frostline.pipeline.resolve import resolve
from frostline.studies.tune_space import Choice, Range, settings
from frostline.studies.tune_trials import RowCache, Trials, make_rungs, nested_subsets, should_promote

TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [
        (54_000, 10, (843, 3_375, 13_500, 54_000)),
        (2_400, 10, (600, 2_400)),
        (1_900, 10, (1_900,)),
        (54_000, 100, (3_375, 13_500, 54_000)),
        (30, 3, (30,)),
    ],
)
def test_rungs_end_with_all_images_and_never_start_with_too_few(images, classes, expected):
    assert make_rungs(images, classes) == expected


def test_subsets_are_nested_and_stratified():
    labels = np.repeat(np.arange(4), 100)
    drawn = nested_subsets(labels, (40, 120, 400), seed=3)
    assert [len(drawn[n]) for n in (40, 120, 400)] == [40, 120, 400]
    assert set(drawn[40]) < set(drawn[120]) < set(drawn[400])
    assert (np.diff(drawn[120]) > 0).all()
    assert np.bincount(labels[drawn[40]]).tolist() == [10] * 4


@pytest.mark.parametrize(
    ("accuracy", "others", "expected"),
    [
        (0.1, [], True),  # the first
        (0.5, [0.4], True),
        (0.4, [0.5], False),
        (0.8, [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], True),  # second of eight
        (0.8, [0.9, 0.85, 0.2, 0.3, 0.4, 0.5, 0.6], False),
        (0.9, [0.9, 0.1], True),  # equals of the best
    ],
)
def test_the_best_quarter_is_promoted(accuracy, others, expected):
    assert should_promote(accuracy, others) is expected


SPACE = {
    "lr": Range(1e-5, 1.0, log=True),
    "head": Choice({"linear": {"head": "linear"}, "ridge": {"head": "ridge"}}),
    "batch_size": Choice({str(n): {"batch_size": n} for n in (64, 128, 256)}),
    "freeze": Choice({name: {"freeze": name} for name in ("conv5", "conv4", "conv3")}),
    "augment": Choice({f"{n} views": {"views": n} for n in (1, 4, 8)}),
}
VALUES = {"lr": 1e-3, "head": "linear", "batch_size": "256", "freeze": "conv5", "augment": "1 views"}


@pytest.fixture
def make_trials(small_fashion, tmp_path):
    def make(**changes):
        config = TrainConfig(
            data="fashion-mnist", data_dir=small_fashion, weights="random", image_size=64, limit=120,
            **{"taps": "none", "epochs": 2, "prior": "none", **changes},
        )  # fmt: skip
        context = Context(tmp_path / "cache", torch.device("cpu"))
        return Trials(config, resolve(config, context), context, SPACE)

    return make


@pytest.mark.parametrize(
    ("config", "first", "second"),
    [
        ({}, {"head": "ridge"}, {"head": "ridge", "lr": 0.5, "batch_size": "64"}),
        ({}, {"batch_size": "128"}, {"batch_size": "256"}),  # of 108 images
        ({}, {"augment": "4 views"}, {"augment": "8 views"}),  # in two epochs
        ({"taps": ("conv3",)}, {"freeze": "conv5"}, {"freeze": "conv3"}),  # stages above the tap do not run
    ],
)
def test_the_same_settings_in_force_are_the_same_training(make_trials, config, first, second):
    trials = make_trials(**config)
    assert trials.effective(VALUES | first) == trials.effective(VALUES | second)
    done = [trials.run(settings(SPACE, VALUES | values), 108) for values in (first, second)]
    assert (done[0].correct == done[1].correct).all() and done[0].accuracy == done[0].correct.mean()
    assert done[0].epochs == (0 if first.get("head") == "ridge" else 2)


@pytest.mark.parametrize(
    ("config", "first", "second"),
    [
        ({}, {"lr": 1e-4}, {"lr": 1e-2}),
        ({}, {"head": "linear"}, {"head": "ridge"}),
        ({}, {"batch_size": "64"}, {"batch_size": "128"}),
        ({}, {"augment": "1 views"}, {"augment": "4 views"}),
        ({}, {"freeze": "conv5"}, {"freeze": "conv4"}),
        ({}, {"augment": "4 views", "head": "ridge"}, {"augment": "8 views", "head": "ridge"}),
        ({"epochs": 8}, {"augment": "4 views"}, {"augment": "8 views"}),
    ],
)
def test_other_settings_in_force_are_another_training(make_trials, config, first, second):
    trials = make_trials(**config)
    assert trials.effective(VALUES | first) != trials.effective(VALUES | second)


def test_settings_that_are_not_in_force_are_left_out(make_trials):
    trials = make_trials()
    closed, stepwise = (trials.effective(VALUES | {"head": head}) for head in ("ridge", "linear"))
    assert not {"lr", "batch_size", "weight_decay", "epochs", "dropout"} & closed.keys()
    assert (stepwise["lr"], stepwise["batch_size"], stepwise["views"]) == (1e-3, 108, 1)
    assert not {"prior", "dropout", "schedule", "head_lr", "momentum"} & stepwise.keys()
    assert {"schedule", "head_lr"} <= trials.effective(VALUES | {"freeze": "conv4"}).keys()


@pytest.mark.parametrize("taps", [TAPS, TAPS[1:], ("conv5",), ()])
@pytest.mark.parametrize("size", [64, 128])
def test_rows_are_those_of_a_store_of_their_own(fashion, tmp_path, taps, size):
    images = fashion.train.subset(np.arange(70))
    backbone, preprocess, cpu = load_backbone("alexnet", "bundled"), Preprocess(size), torch.device("cpu")
    config = TrainConfig(data="fashion-mnist", image_size=size)
    row_cache = RowCache(Frozen(backbone, make_boundary(backbone, "conv5", TAPS)), size)
    forward = FastForward(Frozen(backbone, make_boundary(backbone, "conv5", taps)), preprocess, cpu)
    (first, second), _ = row_cache(
        (images, images.subset(np.array([9, 2]))), forward, feature_settings(config), Context(tmp_path, cpu)
    )
    (own,), _ = read_rows((images,), forward, feature_settings(config), Context(tmp_path / "own", cpu))
    everything = np.arange(70)
    assert torch.equal(first.take(everything), own.take(everything).flatten(1))
    assert torch.equal(second.take(np.array([0, 1])), own.take(np.array([9, 2])).flatten(1))
    assert first.shape == (first.take(everything).shape[1],)
    with_another = fashion.train.subset(np.arange(71))
    (more,), done = row_cache((with_another,), forward, feature_settings(config), Context(tmp_path, cpu))
    assert (len(more), done.images - done.from_cache) == (71, 1)
    assert len(list((tmp_path / "activations").iterdir())) == 1


def test_a_thawed_boundary_has_rows_of_its_own(fashion, tmp_path):
    images = fashion.train.subset(np.arange(10))
    backbone = load_backbone("alexnet", "bundled")
    row_cache = RowCache(Frozen(backbone, make_boundary(backbone, "conv5", TAPS)), 64)
    boundary = make_boundary(backbone, "conv3", TAPS)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(64), torch.device("cpu"))
    config = TrainConfig(data="fashion-mnist", image_size=64)
    (rows,), _ = row_cache((images,), forward, feature_settings(config), Context(tmp_path, torch.device("cpu")))
    assert rows.shape == (64 * 9 + 192 * 9 + 384 * 9,)
