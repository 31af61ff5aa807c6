"""Features of fewer taps are read from a store with more."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data.augment import View
from frostline.data.dataset import Splits
from frostline.features.dataset import Columns
from tests.features.passes import everything, first, keep, make_forward
from tests.features.stores import flip_bit

ALL = ("conv1", "conv2", "conv3")
Taps = tuple[str, ...]


@pytest.mark.parametrize("taps", [("conv1", "conv3"), ("conv2", "conv3"), ("conv2",), ("conv3",), ()], ids=str)
def test_fewer_taps_are_columns_of_all(fashion: Splits, cache: Path, tmp_path: Path, taps: Taps) -> None:
    images, forward = first(fashion, 100), make_forward("conv3", taps)
    keep(images, cache, make_forward("conv3", ALL))
    kept, done, computed = keep(images, cache, forward)
    anew, _, computed_anew = keep(images, tmp_path / "other", forward)
    assert (computed, done.from_cache, computed_anew) == (0, 100, 100)
    assert kept[0].shape == anew[0].shape and torch.equal(everything(kept[0]), everything(anew[0]))
    indices = np.array([70, 3, 3, 99])
    assert torch.equal(kept[0].take(indices), anew[0].take(indices))
    assert len(list((cache / "activations").iterdir())) == 1  # nothing was written for them


def test_columns_of_columns_are_the_right_ones(fashion: Splits, cache: Path) -> None:
    images = first(fashion, 20)
    keep(images, cache, make_forward("conv3", ALL))
    kept = keep(images, cache, make_forward("conv3", ("conv1", "conv3")))[0][0]
    part = kept.of(images.row_ids, slice(500, None))
    assert torch.equal(everything(part), everything(kept)[:, 500:])
    assert part.shape == (kept.shape[0] - 500,)


def test_slices_across_pieces() -> None:
    columns = Columns((slice(2, 5), slice(10, 14)), (7,))
    assert columns[1:5] == Columns((slice(3, 5), slice(10, 12)), (4,))
    assert columns[-2:] == Columns((slice(12, 14),), (2,))


def test_rows_that_a_wider_store_lacks_are_computed(fashion: Splits, cache: Path) -> None:
    keep(first(fashion, 99), cache, make_forward("conv3", ALL))
    assert keep(first(fashion, 100), cache, make_forward("conv3", ()))[2] == 100
    keep(first(fashion, 150), cache, make_forward("conv3", ALL))
    _, done, computed = keep(first(fashion, 150), cache, make_forward("conv3", ()))  # has 100 of its own
    assert (computed, done.from_cache) == (0, 150)


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        ({"seed": 1}, {}),
        ({"image_size": 96}, {}),
        ({"taps": ("conv1", "conv2")}, {"taps": ("conv3",)}),
        ({"freeze": "conv4", "taps": (*ALL, "conv4")}, {}),  # conv3's map is averaged there
    ],
    ids=["weights", "size", "taps", "boundary"],
)
def test_a_store_that_differs_otherwise_is_not_read(fashion: Splits, cache: Path, wide: dict, narrow: dict) -> None:
    images, usual = first(fashion, 30), {"freeze": "conv3", "taps": ()}
    keep(images, cache, make_forward(**{**usual, "taps": ALL, **wide}))
    assert keep(images, cache, make_forward(**{**usual, **narrow}))[2] == 30


def test_dtype_and_view_are_told_apart(fashion: Splits, cache: Path) -> None:
    images, narrow = first(fashion, 30), make_forward("conv3")
    keep(images, cache, make_forward("conv3", ALL), "float16")
    assert keep(images, cache, narrow, "float32")[2] == 30
    assert keep(images, cache, narrow, "float16", view=View(1, seed=0))[2] == 30
    assert keep(images, cache, narrow, "float16")[2] == 0


@pytest.mark.parametrize("harm", ["damaged shard", "damaged spec", "link"])
def test_a_store_that_cannot_be_trusted_is_not_read(fashion: Splits, cache: Path, tmp_path: Path, harm: str) -> None:
    images = first(fashion, 30)
    keep(images, cache, make_forward("conv3", ALL))
    (folder,) = (cache / "activations").iterdir()
    if harm == "damaged shard":
        flip_bit(folder / "shard-00000.safetensors")
    elif harm == "damaged spec":
        (folder / "spec.json").write_text((folder / "spec.json").read_text().replace("conv2", "conv9"))
    else:
        folder.rename(tmp_path / folder.name)
        folder.symlink_to(tmp_path / folder.name)
    assert keep(images, cache, make_forward("conv3", ()))[2] == 30
