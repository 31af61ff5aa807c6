from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data.augment import View
from frostline.data.dataset import Splits
from frostline.features.dataset import CachedFeatures, LiveFeatures
from frostline.features.forward import FastForward
from frostline.features.store import row_key
from tests.features.passes import as_files, everything, first, keep, make_forward
from tests.features.stores import ROW, make_spec, make_store, opened, row_ids, rows

TWELVE = row_ids(12)


def numbers(taken: torch.Tensor) -> list[int]:
    """Return the number that each row is full of."""
    assert taken.shape[1:] == ROW
    assert (taken == taken[:, :1, :1]).all()
    return taken[:, 0, 0].int().tolist()


@pytest.fixture(params=[(12,), (4, 3, 5), (1,) * 12], ids=["one shard", "three shards", "a shard per row"])
def kept(request: pytest.FixtureRequest, cache: Path) -> CachedFeatures:
    make_store(cache, request.param)
    return CachedFeatures(opened(cache), TWELVE)


@pytest.mark.parametrize(
    "indices",
    [
        [*range(12)],
        [*range(11, -1, -1)],
        [5],
        [0, 11],
        [7, 2, 9, 2, 2, 0, 11, 7],
        [3, 3, 3],
        [11, 0, 10, 1, 9, 2, 8, 3, 7, 4, 6, 5],
        [],
    ],
    ids=str,
)
def test_rows_come_in_the_order_asked_for(kept: CachedFeatures, indices: list[int]) -> None:
    assert numbers(kept.take(np.array(indices, np.int64))) == indices


def test_any_order_of_any_rows_is_right(kept: CachedFeatures) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        indices = random.integers(0, 12, random.integers(1, 30))
        assert numbers(kept.take(indices)) == indices.tolist()


def test_positions_follow_the_data_set_and_not_the_disk(cache: Path) -> None:
    make_store(cache, (4, 3, 5))
    order = [10, 0, 0, 6, 3, 11]
    kept = CachedFeatures(opened(cache), [TWELVE[i] for i in order])
    assert len(kept) == 6 and kept.shape == ROW
    assert numbers(kept.take(np.arange(6))) == order
    assert numbers(kept.take(np.array([5, 1, 3]))) == [11, 0, 6]


def test_rows_are_float32_and_may_be_trained_on(kept: CachedFeatures) -> None:
    taken = kept.take(np.arange(12))
    assert taken.dtype == torch.float32 and not taken.is_inference()
    weight = torch.ones(ROW, requires_grad=True)
    (taken * weight).sum().backward()
    assert weight.grad is not None and weight.grad[0, 0] == sum(range(12))


def test_changing_taken_rows_changes_no_kept_ones(cache: Path) -> None:
    make_store(cache, (4,), make_spec("float32"))
    kept = CachedFeatures(opened(cache, make_spec("float32")), row_ids(4))
    kept.take(np.arange(4)).fill_(7)
    assert numbers(kept.take(np.arange(4))) == [0, 1, 2, 3]


def test_views_are_told_apart(cache: Path) -> None:
    store = make_store(cache, (4,))
    with store.locked():
        store.append([row_key(row_id, 3) for row_id in row_ids(4)], rows(4, 50))
    assert numbers(CachedFeatures(store, row_ids(4), view=3).take(np.array([1, 0]))) == [51, 50]
    assert numbers(CachedFeatures(store, row_ids(4)).take(np.array([1, 0]))) == [1, 0]


def test_a_image_that_is_not_kept_is_no_row(cache: Path) -> None:
    make_store(cache, (4,))
    with pytest.raises(KeyError):
        CachedFeatures(opened(cache), row_ids(5))


def test_rows_outlive_a_pruned_store(kept: CachedFeatures, cache: Path) -> None:
    for path in cache.rglob("shard-*"):
        path.unlink()
    assert numbers(kept.take(np.arange(12))) == [*range(12)]


@pytest.mark.parametrize("taps", [(), ("conv1", "conv2")])
def test_live_rows_equal_kept_ones(fashion: Splits, cache: Path, taps: tuple[str, ...]) -> None:
    images, forward = first(fashion, 150), make_forward("conv2", taps)
    kept, live = keep(images, cache, forward)[0][0], LiveFeatures(images, forward)
    assert (len(live), live.shape) == (len(kept), kept.shape)
    for indices in (np.arange(150), np.array([149, 3, 3, 70]), np.random.default_rng(2).permutation(150)):
        expected = kept.take(indices)
        torch.testing.assert_close(live.take(indices), expected, rtol=0, atol=1e-6 * float(expected.max()))


def test_a_view_is_kept_beside_the_images(fashion: Splits, cache: Path) -> None:
    images, forward = first(fashion, 150), make_forward("conv2")
    plain = everything(keep(images, cache, forward)[0][0])
    for number, computed in ((1, 150), (2, 150), (1, 0), (0, 0)):
        view = View(number, seed=3)
        kept, done, rows = keep(images, cache, forward, view=view)
        assert (rows, done.from_cache) == (computed, 150 - computed)
        live = LiveFeatures(images, forward, view).take(np.arange(150))
        torch.testing.assert_close(everything(kept[0]), live, rtol=0, atol=1e-5 * float(live.max()))
        assert torch.equal(everything(kept[0]), plain) == (number == 0)
    other_seed = keep(images, cache, forward, view=View(1, seed=4))
    assert other_seed[2] == 150


def test_live_rows_of_files_equal_kept_ones(fashion: Splits, cache: Path, forward: FastForward, tmp_path: Path) -> None:
    files = as_files(first(fashion, 20), tmp_path)
    kept = everything(keep(files, cache, forward)[0][0])
    live = LiveFeatures(files, forward).take(np.arange(20))
    torch.testing.assert_close(live, kept, rtol=0, atol=1e-5 * float(kept.max()))


def test_with_nothing_frozen_live_rows_are_normalized_pixels(fashion: Splits) -> None:
    images, forward = first(fashion, 10), make_forward("none")
    live = LiveFeatures(images, forward)
    assert live.shape == (3, 64, 64)
    torch.testing.assert_close(live.take(np.arange(10)), forward.preprocess(np.asarray(images.images)))
