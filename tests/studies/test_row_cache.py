"""Rows of fewer taps are columns of the widest rows."""

import numpy as np
import pytest
import torch

from frostline.config import TrainConfig
from frostline.data.preprocess import Preprocess
from frostline.features.forward import FastForward
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import load_backbone
from frostline.pipeline.context import Context
from frostline.pipeline.extract import read_rows
from frostline.studies.row_cache import RowCache

TAPS = ("conv1", "conv2", "conv3", "conv4", "conv5")


@pytest.mark.parametrize("taps", [TAPS, TAPS[1:], ("conv5",), ()])
@pytest.mark.parametrize("size", [64, 128])
def test_rows_are_those_of_a_store_of_their_own(fashion, tmp_path, taps, size):
    images = fashion.train.subset(np.arange(70))
    backbone, preprocess, cpu = load_backbone("alexnet", "bundled"), Preprocess(size), torch.device("cpu")
    config = TrainConfig(data="fashion-mnist", image_size=size)
    shelf = RowCache(Frozen(backbone, make_boundary(backbone, "conv5", TAPS)), size)
    forward = FastForward(Frozen(backbone, make_boundary(backbone, "conv5", taps)), preprocess, cpu)
    (first, second), _ = shelf((images, images.subset(np.array([9, 2]))), forward, config, Context(tmp_path, cpu))
    (own,), _ = read_rows((images,), forward, config, Context(tmp_path, cpu))
    everything = np.arange(70)
    assert torch.equal(first.take(everything), own.take(everything).flatten(1))
    assert torch.equal(second.take(np.array([0, 1])), own.take(np.array([9, 2])).flatten(1))
    assert first.shape == (first.take(everything).shape[1],)
    with_another = fashion.train.subset(np.arange(71))
    (more,), done = shelf((with_another,), forward, config, Context(tmp_path, cpu))
    assert (len(more), done.images - done.from_cache) == (71, 1)
    assert len(list((tmp_path / "activations").iterdir())) == (1 if taps == TAPS else 2)


def test_a_thawed_boundary_has_rows_of_its_own(fashion, tmp_path):
    images = fashion.train.subset(np.arange(10))
    backbone = load_backbone("alexnet", "bundled")
    shelf = RowCache(Frozen(backbone, make_boundary(backbone, "conv5", TAPS)), 64)
    boundary = make_boundary(backbone, "conv3", TAPS)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(64), torch.device("cpu"))
    config = TrainConfig(data="fashion-mnist", image_size=64)
    (rows,), _ = shelf((images,), forward, config, Context(tmp_path, torch.device("cpu")))
    assert rows.shape == (64 * 9 + 192 * 9 + 384 * 9,)
