"""A listing becomes splits: what is missing is drawn, always the same, and what cannot be is refused in one line."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frostline.errors import DataError
from frostline.images.dataset import ImageDataset, Splits
from frostline.images.levels import Tones
from frostline.images.listing import Listing, complete, listed_splits
from frostline.images.look import Look
from frostline.runs.choose import split
from tests.small_run import small_config

Row = tuple[str, str, str | None]  # path, class, split


def seen(paths: Sequence[Path]) -> list[Look]:
    """Names tell all: `copy-of-X` has X's bytes, `like-X.1` looks like X, `bad` cannot be read."""
    looks = []
    for path in paths:
        stem = path.stem.removeprefix("copy-of-")
        look = stem.removeprefix("like-").partition(".")[0]
        digests = [
            hashlib.blake2b(text.encode(errors="replace"), digest_size=size).digest()
            for text, size in ((stem, 16), (look, 8))
        ]
        looks.append(Look(digests[0], digests[1], 64, "is damaged" if stem.startswith("bad") else None, Tones()))
    return looks


def splits_of(*rows: Row, strict: bool = False) -> Splits:
    paths, classes, splits = zip(*rows, strict=True)
    return listed_splits(Listing(tuple(map(Path, paths)), classes, splits, "here"), "mine", seen, strict=strict)


def many(name: str, count: int, split: str | None = None, first: int = 0) -> list[Row]:
    return [(f"{name}/{name}{i}.png", name, split) for i in range(first, first + count)]


def names(part: ImageDataset | None) -> set[str]:
    return set() if part is None else {path.name for path in part.images}


def test_classes_are_sorted_and_numbered() -> None:
    splits = splits_of(*many("cat", 20), *many("bird", 20))
    assert splits.train.class_names == splits.test.class_names == ("bird", "cat")
    for path, label in zip(splits.train.images, splits.train.labels, strict=True):
        assert splits.train.class_names[label] == path.parent.name
    assert (splits.name, splits.source, splits.val, splits.bad) == ("mine", "here", None, ())


def test_the_size_of_small_pictures_is_known() -> None:
    assert splits_of(*many("cat", 20), *many("bird", 20)).train.side == 64


def test_a_missing_test_split_is_a_share_of_every_class() -> None:
    splits = splits_of(*many("cat", 200), *many("bird", 40))
    assert np.bincount(splits.test.labels).tolist() == [6, 30]
    assert not names(splits.train) & names(splits.test)
    assert len(splits.train) + len(splits.test) == 240
    assert names(splits_of(*many("bird", 40), *many("cat", 200)).test) == names(splits.test)


def test_adding_pictures_moves_few_others() -> None:
    before = splits_of(*many("cat", 200), *many("bird", 40))
    after = splits_of(*many("cat", 230), *many("bird", 40), *many("ant", 50))
    kept = names(before.test) & names(after.test)
    assert len(kept) >= len(before.test) - 2
    assert len(names(after.test) & names(before.train)) <= 2


def test_given_splits_are_kept() -> None:
    rows = [*many("cat", 8, "train"), *many("bird", 8), *many("cat", 3, "val", 8), *many("bird", 4, "test", 8)]
    splits = splits_of(*rows)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (16, 3, 4)
    parts = split(splits, small_config(Path("unused"), limit=None))
    assert names(parts.val) == {"cat8.png", "cat9.png", "cat10.png"}
    assert len(parts.train) == 16


def test_near_duplicates_stay_on_one_side() -> None:
    rows: list[Row] = [
        (f"{name}/like-{name}{i}.{j}.png", name, None) for name in "ab" for i in range(30) for j in (0, 1)
    ]
    splits = splits_of(*rows)
    parts = split(splits, small_config(Path("unused"), limit=None))
    sides = [{name.rpartition(".")[0].partition(".")[0] for name in names(part)} for part in vars(parts).values()]
    assert all(sides)
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize("count", [1, 2])
def test_a_very_small_class_stays_in_training_and_is_named(count: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "frostline"):
        splits = splits_of(*many("cat", 30), *many("bird", 30), *many("wren", count))
    (line,) = caplog.messages
    assert f"that do not look alike: wren ({count})" in line
    parts = split(splits, small_config(Path("unused"), limit=None))
    counts = [np.bincount(part.labels, minlength=3).tolist() for part in vars(parts).values()]
    assert [line[2] for line in counts] == [count, 0, 0]
    assert all(line[0] and line[1] for line in counts)


def test_three_pictures_fill_three_splits() -> None:
    parts = split(splits_of(*many("cat", 3), *many("bird", 3)), small_config(Path("unused"), limit=None))
    assert [np.bincount(part.labels).tolist() for part in vars(parts).values()] == [[1, 1]] * 3


def test_unreadable_pictures_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [*many("cat", 20), *many("bird", 20), ("cat/bad.png", "cat", None), ("bad2.png", "gone", None)]
    with caplog.at_level(logging.WARNING, "frostline"):
        splits = splits_of(*rows)
    assert [(str(bad.path), bad.reason) for bad in splits.bad] == [
        ("cat/bad.png", "is damaged"), ("bad2.png", "is damaged")
    ]  # fmt: skip
    assert caplog.messages == [
        "2 of 42 pictures cannot be read and are left out; cat/bad.png is damaged",
        "no picture can be read of gone",
    ]
    assert splits.train.class_names == ("bird", "cat")
    with pytest.raises(DataError, match=r"^here: 2 of 42 pictures cannot be read; cat/bad.png is damaged: mend"):
        splits_of(*rows, strict=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("bad.png", "cat", None)], "here has no training pictures that can be read"),
        (many("cat", 9, "test"), "here has no training pictures that can be read"),
        (many("cat", 9), "here has one class alone, cat with 9 pictures: two or more are needed"),
        ([*many("cat", 9), *many("bird", 9), *many("fish", 2, "test"), *many("wren", 1, "test")],
         r"here: classes with test pictures but none to train on: fish \(2\), wren \(1\)"),
        ([*many("cat", 9), *many("bird", 9), ("x/copy-of-cat3.png", "bird", None)],
         "here: pictures under two classes: 1, such as cat/cat3.png, 'cat', and x/copy-of-cat3.png, 'bird', with "
         "the same bytes: keep each under one"),
        ([*many("cat", 9), *many("b\udce9\n", 9)], r"here: the class 'b\\udce9\\n' cannot be printed: rename it"),
        ([*many("cat", 2), *many("bird", 2)], "too few pictures to draw what is missing: 4 in 2 classes"),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_refused_in_one_line(rows: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        splits_of(*rows)
    assert "\n" not in str(refused.value)


def test_the_same_file_twice_in_one_class_is_no_clash() -> None:
    splits = splits_of(*many("cat", 20), *many("bird", 20), ("cat/copy-of-cat3.png", "cat", None))
    sides = [{"cat3.png", "copy-of-cat3.png"} <= names(part) for part in (splits.train, splits.test)]
    assert sum(sides) == 1


def test_arrays_without_groups_keep_their_published_parts(fashion: Splits) -> None:
    splits = complete("x", "memory", fashion.train, None, fashion.test)
    np.testing.assert_array_equal(splits.train.labels, fashion.train.labels)
