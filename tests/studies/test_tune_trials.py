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
from frostline.studies.tune_trials import RowCache, make_rungs, nested_subsets, should_promote

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
    (own,), _ = read_rows((images,), forward, feature_settings(config), Context(tmp_path, cpu))
    everything = np.arange(70)
    assert torch.equal(first.take(everything), own.take(everything).flatten(1))
    assert torch.equal(second.take(np.array([0, 1])), own.take(np.array([9, 2])).flatten(1))
    assert first.shape == (first.take(everything).shape[1],)
    with_another = fashion.train.subset(np.arange(71))
    (more,), done = row_cache((with_another,), forward, feature_settings(config), Context(tmp_path, cpu))
    assert (len(more), done.images - done.from_cache) == (71, 1)
    assert len(list((tmp_path / "activations").iterdir())) == (1 if taps == TAPS else 2)


def test_a_thawed_boundary_has_rows_of_its_own(fashion, tmp_path):
    images = fashion.train.subset(np.arange(10))
    backbone = load_backbone("alexnet", "bundled")
    row_cache = RowCache(Frozen(backbone, make_boundary(backbone, "conv5", TAPS)), 64)
    boundary = make_boundary(backbone, "conv3", TAPS)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(64), torch.device("cpu"))
    config = TrainConfig(data="fashion-mnist", image_size=64)
    (rows,), _ = row_cache((images,), forward, feature_settings(config), Context(tmp_path, torch.device("cpu")))
    assert rows.shape == (64 * 9 + 192 * 9 + 384 * 9,)
