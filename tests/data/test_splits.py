"""Splits are stratified and seeded; groups of similar images stay together."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from frostline.data.dataset import Splits
from frostline.data.splits import (
    FLAT,
    by_group,
    difference_hash,
    drawable,
    group_numbers,
    limited,
    per_class,
    stratified,
    train_val,
)
from frostline.errors import ConfigError, DataError

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [600, 300, 100]))


def test_every_row_is_on_exactly_one_side_in_order() -> None:
    drawn, rest = stratified(LABELS, 200, seed=1)
    assert np.array_equal(np.sort(np.concatenate([drawn, rest])), np.arange(1000))
    assert np.all(np.diff(drawn) > 0)
    assert np.all(np.diff(rest) > 0)
    assert drawn.dtype == rest.dtype == np.int64


def test_every_class_keeps_its_share() -> None:
    drawn, rest = stratified(LABELS, 200, seed=1)
    assert np.bincount(LABELS[drawn]).tolist() == [120, 60, 20]
    assert np.bincount(LABELS[rest]).tolist() == [480, 240, 80]


def test_seed_decides_the_draw() -> None:
    first, again, other = (stratified(LABELS, 200, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_largest_seed_is_taken() -> None:
    assert len(stratified(LABELS, 200, seed=2**63 - 1)[0]) == 200


def test_validation_of_the_real_data_is_a_tenth_of_every_class(fashion: Splits) -> None:
    train, val = train_val(fashion.train.labels, 0.1, seed=0)
    assert (len(train), len(val)) == (54_000, 6_000)
    assert np.bincount(fashion.train.labels[val]).tolist() == [600] * 10
    assert not set(train) & set(val)


def test_limit_draws_that_many_or_all() -> None:
    assert len(limited(LABELS, 120, seed=0)) == 120
    np.testing.assert_array_equal(limited(LABELS, 1000, seed=0), np.arange(1000))
    np.testing.assert_array_equal(limited(LABELS, 5000, seed=0), np.arange(1000))


@pytest.mark.parametrize("count", [0, 2, 998, 1000])
def test_split_that_leaves_a_class_empty_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match=r"cannot draw .* ask for a number between 3 and 997"):
        stratified(LABELS, count, seed=0)


def test_class_of_one_image_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"the smallest class has 1\).*at least two images of every class"):
        stratified(np.array([0] * 50 + [1]), 10, seed=0)


def test_fewest_allowed_images_still_show_every_class() -> None:
    drawn, rest = stratified(LABELS, 3, seed=0)
    assert len(drawn) == 3
    assert set(LABELS[rest]) == {0, 1, 2}


def test_labels_per_class_are_that_many_of_each() -> None:
    rows = per_class(LABELS, 7, seed=0)
    assert np.bincount(LABELS[rows]).tolist() == [7, 7, 7]
    assert np.all(np.diff(rows) > 0)


def test_more_labels_hold_the_fewer_ones() -> None:
    few, more, all_of_the_smallest = (set(per_class(LABELS, count, seed=4)) for count in (5, 20, 100))
    assert few < more < all_of_the_smallest


def test_seed_decides_which_labels() -> None:
    assert set(per_class(LABELS, 5, seed=1)) == set(per_class(LABELS, 5, seed=1)) != set(per_class(LABELS, 5, seed=2))


def test_more_labels_than_there_are_is_refused() -> None:
    with pytest.raises(DataError, match=r"^class 2 has 100 labeled images for training, but 101 are required\.$"):
        per_class(LABELS, 101, seed=0)


def test_a_class_of_one_image_stays_in_training() -> None:
    labels = np.array([0] * 50 + [1] + [2] * 50)
    train, val = train_val(labels, 0.1, seed=0)
    assert 50 in train
    assert set(labels[val]) == {0, 2}
    assert sorted([*train, *val]) == list(range(101))


def test_a_limit_draws_the_only_image_of_a_class() -> None:
    labels = np.array([0] * 50 + [1] + [2] * 50)
    rows = limited(labels, 21, seed=0)
    assert np.bincount(labels[rows]).tolist() == [10, 1, 10]


GROUPS = np.random.default_rng(1).integers(0, 400, len(LABELS))


def test_groups_stay_together_and_every_class_gives_its_share() -> None:
    drawn, rest = by_group(LABELS, GROUPS, 0.2, seed=1)
    assert sorted([*drawn, *rest]) == list(range(1000))
    pairs = [set(zip(LABELS[rows], GROUPS[rows], strict=True)) for rows in (drawn, rest)]
    assert not pairs[0] & pairs[1]
    np.testing.assert_allclose(np.bincount(LABELS[drawn]), [120, 60, 20], atol=2)
    assert not np.array_equal(drawn, by_group(LABELS, GROUPS, 0.2, seed=2)[0])


def test_validation_keeps_groups_together() -> None:
    train, val = train_val(LABELS, 0.1, 0, GROUPS)
    assert not set(zip(LABELS[train], GROUPS[train], strict=True)) & set(zip(LABELS[val], GROUPS[val], strict=True))


def test_adding_rows_moves_few_others() -> None:
    groups = np.random.default_rng(2).integers(0, 2**60, len(LABELS))
    before = set(by_group(LABELS[:900], groups[:900], 0.15, seed=0)[0])
    after = set(by_group(LABELS, groups, 0.15, seed=0)[0])
    assert len(before - after) <= 10
    assert len({row for row in after - before if row < 900}) <= 10


def test_a_class_always_keeps_some_groups() -> None:
    labels, groups = np.zeros(4, int), np.array([7, 7, 8, 9])
    assert by_group(labels, groups, 0.9, seed=0, keep=2)[1].size >= 2
    assert len(set(groups[by_group(labels, groups, 0.9, seed=0, keep=2)[1]])) == 2
    assert by_group(labels, groups, 0.5, seed=0, keep=3)[0].size == 0
    large = np.array([5] * 30 + [6] * 20)
    assert set(large[by_group(np.zeros(50, int), large, 0.1, seed=0)[0]]) == {6}  # all are larger: the smallest


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=60), st.integers(1, 2))
def test_groups_over_several_classes_are_drawn_whole_and_every_class_keeps_some(
    rows: list[tuple[int, int]], keep: int
) -> None:
    labels, groups = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    drawn, rest = by_group(labels, groups, 0.2, 0, keep)
    assert sorted([*drawn, *rest]) == list(range(len(rows)))
    assert not set(groups[drawn]) & set(groups[rest])
    for label in set(labels[drawn].tolist()):
        assert len(set(groups[rest][labels[rest] == label].tolist())) >= keep
    if keep == 1:
        assert bool(len(drawn)) == drawable(labels, groups)


def test_a_hash_survives_another_size_and_format(fashion: Splits) -> None:
    coat = np.asarray(fashion.train.images[np.flatnonzero(fashion.train.labels == 4)[0]])
    large = np.kron(coat, np.ones((9, 8), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([large] * 3)).save(buffer, "JPEG", quality=95)
    jpeg = np.asarray(Image.open(buffer))
    hashes = [difference_hash(pixels) for pixels in (large, np.dstack([large] * 3), jpeg)]
    assert len(hashes[0]) == 8
    assert hashes[0] == hashes[1]
    bits = np.unpackbits(np.frombuffer(hashes[0], np.uint8)) != np.unpackbits(np.frombuffer(hashes[2], np.uint8))
    assert bits.sum() <= 4


def test_other_garments_have_other_hashes(fashion: Splits) -> None:
    bags = np.asarray(fashion.train.images[fashion.train.labels == 8][:200])
    assert len({difference_hash(bag) for bag in bags}) > 190


def test_a_flat_image_and_a_single_pixel_are_flat() -> None:
    assert difference_hash(np.full((50, 40), 9, np.uint8)) == FLAT
    assert difference_hash(np.full((1, 1, 3), 9, np.uint8)) == FLAT


def test_numbers_belong_to_a_class_and_a_look() -> None:
    rows = [bytes([i]) * 16 for i in range(6)]
    looks = [b"lookalik", b"lookalik", b"lookalik", b"another1", FLAT, FLAT]
    numbers = group_numbers(["a", "a", "b", "a", "a", "a"], rows, looks)
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 5
    assert group_numbers(["a"], rows[1:2], looks[1:2])[0] == numbers[0]  # whatever else is there
