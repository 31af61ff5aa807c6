"""Views: pure functions of (seed, image, number)."""

import numpy as np
import pytest
import torch

from frostline.data.augment import LIMITS, Augment, View, make_augment
from frostline.data.dataset import Splits
from frostline.data.preprocess import Preprocess
from frostline.errors import ConfigError

STILL = Augment(flip=0, rotation=0, shift=0, scale=0, crop=0, brightness=0, contrast=0, erase=0)


@pytest.fixture(scope="module")
def garments(fashion: Splits) -> tuple[torch.Tensor, list[bytes]]:
    part = fashion.train.subset(np.arange(64))
    return Preprocess(64).resize(part.images), part.row_ids


def test_view_0_is_the_image(garments):
    pixels, row_ids = garments
    assert torch.equal(View(0, augment=Augment(erase=1.0))(pixels, row_ids), pixels)


def test_a_view_does_not_depend_on_its_neighbors(garments):
    pixels, row_ids = garments
    view = View(3, seed=5, augment=Augment(crop=0.3, erase=0.5))
    together = view(pixels, row_ids)
    assert together.shape == pixels.shape and together.min() >= 0 and together.max() <= 255
    order = [40, 3, 17]
    alone = torch.cat([view(pixels[i : i + 1], [row_ids[i]]) for i in order])
    assert torch.allclose(together[order], alone, atol=1e-3)


@pytest.mark.parametrize("other", [View(2, 1), View(1, 2), View(1, 1, Augment(rotation=20))], ids=str)
def test_number_seed_and_range_make_another_view(garments, other):
    assert (View(1, 1)(*garments) - other(*garments)).abs().mean() > 1


def test_without_changes_a_view_is_the_image(garments):
    pixels, row_ids = garments
    assert torch.allclose(View(1, augment=STILL)(pixels, row_ids), pixels, atol=0.01)


def test_flip_mirrors_some_images_and_leaves_the_others(garments):
    pixels, row_ids = garments
    flipped = View(1, augment=make_augment(vars(STILL) | {"flip": 0.5}))(pixels, row_ids)
    same = (flipped - pixels).abs().amax((1, 2, 3)) < 0.01
    mirrored = (flipped - pixels.flip(-1)).abs().amax((1, 2, 3)) < 0.01
    assert (same | mirrored).all()
    assert 16 <= int(mirrored.sum()) <= 48


@pytest.mark.parametrize("name", LIMITS)
def test_each_range_changes_images_by_itself(garments, name):
    pixels, row_ids = garments
    changed = View(1, augment=make_augment(vars(STILL) | {name: min(0.9, LIMITS[name])}))(pixels, row_ids)
    moved = (changed - pixels).abs().mean((1, 2, 3))
    assert (moved > 0.05).float().mean() > 0.5


def test_shift_stays_in_its_range():
    dot = torch.zeros(200, 1, 101, 101)
    dot[:, :, 50, 50] = 255
    row_ids = [number.to_bytes(16, "little") for number in range(200)]
    moved = View(1, augment=make_augment(vars(STILL) | {"shift": 0.1}))(dot, row_ids)
    places = torch.nonzero(moved[:, 0] > 40)[:, 1:].float() - 50
    assert 7 < places.abs().max() <= 11
    assert places.mean().abs() < 1.5


def test_erasing_leaves_the_mean_in_a_rectangle(garments):
    pixels, row_ids = garments
    erased = View(1, augment=make_augment(vars(STILL) | {"erase": 1.0}))(pixels, row_ids)
    changed = (erased - pixels).abs() > 0.01
    assert torch.allclose(erased[changed], pixels.mean((1, 2, 3), keepdim=True).expand_as(pixels)[changed])
    assert 0.005 < changed.float().mean() < 0.2


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"flipp": 1}, "unknown change 'flipp', expected flip, rotation.*Did you mean 'flip'?"),
        ({"flip": 2}, "expected flip=X with X from 0 to 1, got '2'"),
        ({"rotation": "far"}, "expected rotation=X with X from 0 to 180, got 'far'"),
        ({"shift": -0.1}, "got '-0.1'"),
    ],
)
def test_impossible_ranges_are_named(values, fault):
    with pytest.raises(ConfigError, match=fault):
        make_augment(values)
