"""Splits from a listing: missing ones are drawn, always the same; invalid listings are refused in one line."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from frostline.data.dataset import BadImage, ImageDataset, Splits
from frostline.data.levels import Tones
from frostline.data.listing import ClashError, Listing, complete, listed_splits
from frostline.data.scan_file import ScannedFile
from frostline.errors import DataError
from frostline.pipeline.resolve import split
from tests.small_run import small_config

Row = tuple[str, str, str | None]  # path, class, split


def fake_scan(paths: Sequence[Path]) -> list[ScannedFile]:
    """Decide by the names: `copy-of-X` has X's bytes, `like-X.1` is similar to X, `bad` cannot be read."""
    files = []
    for path in paths:
        stem = path.stem.removeprefix("copy-of-")
        content = stem.removeprefix("like-").partition(".")[0]
        digests = [
            hashlib.blake2b(text.encode(errors="replace"), digest_size=size).digest()
            for text, size in ((stem, 16), (content, 8))
        ]
        files.append(ScannedFile(digests[0], digests[1], 64, "is damaged" if stem.startswith("bad") else None, Tones()))
    return files


def splits_of(*rows: Row, strict: bool = False) -> Splits:
    paths, classes, splits = zip(*rows, strict=True)
    return listed_splits(Listing(tuple(map(Path, paths)), classes, splits, "here"), "mine", fake_scan, strict=strict)


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


def test_the_size_of_small_images_is_known() -> None:
    assert splits_of(*many("cat", 20), *many("bird", 20)).train.side == 64


def test_a_missing_test_split_is_a_share_of_every_class() -> None:
    splits = splits_of(*many("cat", 200), *many("bird", 40))
    assert np.bincount(splits.test.labels).tolist() == [6, 30]
    assert not names(splits.train) & names(splits.test)
    assert len(splits.train) + len(splits.test) == 240
    assert names(splits_of(*many("bird", 40), *many("cat", 200)).test) == names(splits.test)


def test_adding_images_moves_few_others() -> None:
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
    assert f"that are not similar: wren ({count})" in line
    parts = split(splits, small_config(Path("unused"), limit=None))
    counts = [np.bincount(part.labels, minlength=3).tolist() for part in vars(parts).values()]
    assert [line[2] for line in counts] == [count, 0, 0]
    assert all(line[0] and line[1] for line in counts)


def test_three_images_fill_three_splits() -> None:
    parts = split(splits_of(*many("cat", 3), *many("bird", 3)), small_config(Path("unused"), limit=None))
    assert [np.bincount(part.labels).tolist() for part in vars(parts).values()] == [[1, 1]] * 3


def test_unreadable_images_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = [*many("cat", 20), *many("bird", 20), ("cat/bad.png", "cat", None), ("bad2.png", "gone", None)]
    with caplog.at_level(logging.WARNING, "frostline"):
        splits = splits_of(*rows)
    assert [(str(bad.path), bad.reason) for bad in splits.bad] == [
        ("cat/bad.png", "is damaged"), ("bad2.png", "is damaged")
    ]  # fmt: skip
    assert caplog.messages == [
        "2 of 42 images cannot be read and are left out; cat/bad.png is damaged",
        "no readable image of gone",
    ]
    assert splits.train.class_names == ("bird", "cat")
    with pytest.raises(DataError, match=r"^here: 2 of 42 images cannot be read; cat/bad.png is damaged: repair"):
        splits_of(*rows, strict=True)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("bad.png", "cat", None)], "here has no readable training images"),
        (many("cat", 9, "test"), "here has no readable training images"),
        (many("cat", 9), "here has only one class, cat with 9 images: two or more are needed"),
        ([*many("cat", 9), *many("bird", 9), *many("fish", 2, "test"), *many("wren", 1, "test")],
         r"here: classes with test images but no training images: fish \(2\), wren \(1\)"),
        ([*many("cat", 9), *many("bird", 9), ("x/copy-of-cat3.png", "bird", None)],
         r"here: 1 files are in two classes with the same content: cat/cat3.png \(cat\) and x/copy-of-cat3.png "
         r"\(bird\): keep each in one. `frostline data check here` lists all"),
        ([*many("cat", 9), *many("b\udce9\n", 9)], r"here: the class 'b\\udce9\\n' cannot be printed: rename it"),
        ([*many("cat", 2), *many("bird", 2)], "too few images to draw the missing splits: 4 .*: --test-fraction 0"),
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


def grouped(*rows: tuple[str, str, str | None, str | None], fraction: float = 0.15) -> Splits:
    paths, classes, splits, groups = zip(*rows, strict=True)
    listing = Listing(tuple(map(Path, paths)), classes, splits, "here", groups)
    return listed_splits(listing, "mine", fake_scan, test_fraction=fraction)


def patients(count: int, split: str | None = None) -> list[tuple[str, str, str | None, str | None]]:
    """Two images of each class for each patient; every third belongs to none."""
    return [
        (f"{name}{p}.{i}.png", name, split, f"patient {p}" if i < 2 else None)
        for p in range(count)
        for name in ("sick", "well")
        for i in range(3)
    ]


def test_groups_are_never_split_even_over_several_classes() -> None:
    splits = grouped(*patients(30))
    parts = split(splits, small_config(Path("unused"), limit=None))
    where: dict[str, set[str]] = {}
    for name, part in vars(parts).items():
        assert len(np.unique(part.labels)) == 2
        for path in part.images:
            if not path.stem.endswith(".2"):
                where.setdefault(path.stem.strip("sickwel").partition(".")[0], set()).add(name)
    assert len(where) == 30
    assert all(len(sides) == 1 for sides in where.values())


def test_look_alikes_of_a_group_stay_with_it() -> None:
    rows = [(f"{n}/like-{n}{i}.{j}.png", n, None, f"{n}{i + j}") for n in "ab" for i in range(0, 60, 2) for j in (0, 1)]
    whole = [*rows, *((f"{n}/{n}-extra{i}.png", n, None, f"{n}{i}") for n in "ab" for i in range(0, 60, 2))]
    splits = grouped(*whole)  # image 0 and 1 look alike, and 0 is of the extra's group
    held = {path.name: side for side in ("train", "test") for path in getattr(splits, side).images}
    for name in "ab":
        for i in range(0, 60, 2):
            assert (
                len({held[f"like-{name}{i}.0.png"], held[f"like-{name}{i}.1.png"], held[f"{name}-extra{i}.png"]}) == 1
            )


def test_a_group_in_two_splits_is_refused() -> None:
    rows = [*patients(20, "train"), ("sick99.png", "sick", "test", "patient 7"), ("well99.png", "well", "test", None)]
    with pytest.raises(DataError, match=r"here: groups in two splits: patient 7 \(train and test\): give each group"):
        grouped(*rows)


def test_a_class_of_one_group_stays_in_training_with_the_rest_of_the_group() -> None:
    rows = [*patients(20), *((f"rare{i}.png", "rare", None, "patient 3") for i in range(4))]
    splits = grouped(*rows)
    three = {path.name for path in splits.train.images if path.name.startswith(("rare", "sick3.", "well3."))}
    assert three >= {"rare0.png", "sick3.0.png", "sick3.1.png", "well3.0.png", "well3.1.png"}


def test_no_test_split_is_drawn_when_none_is_wanted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [(path, name, side, None) for path, name, side in [*many("cat", 20), *many("bird", 20)]]
    with caplog.at_level(logging.WARNING, "frostline"):
        splits = grouped(*rows, fraction=0)
    assert (len(splits.train), len(splits.test)) == (40, 0)
    assert splits.test.class_names == ("bird", "cat")
    assert caplog.messages == ["here: no test split (--test-fraction 0): accuracy on new images will not be measured"]
    given = grouped(*rows, ("cat/t.png", "cat", "test", None), fraction=0)
    assert len(given.test) == 1


def test_the_share_of_the_test_split_can_be_chosen() -> None:
    rows = [(path, name, side, None) for path, name, side in [*many("cat", 100), *many("bird", 50)]]
    assert np.bincount(grouped(*rows, fraction=0.4).test.labels).tolist() == [20, 40]


def test_two_images_of_each_class_train_and_validate_without_test() -> None:
    rows = [(path, name, side, None) for path, name, side in [*many("cat", 2), *many("bird", 2)]]
    parts = split(grouped(*rows, fraction=0), small_config(Path("unused"), limit=None))
    assert [np.bincount(part.labels, minlength=2).tolist() for part in vars(parts).values()] == [[1, 1], [1, 1], [0, 0]]


def test_both_spellings_of_a_class_are_one_in_training_and_test(caplog: pytest.LogCaptureFixture) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    rows = [*many("bar", 9), *((f"x{i}.png", composed, "train") for i in range(9)), *many("bar", 2, "test", 9)]
    with caplog.at_level(logging.WARNING, "frostline"):
        splits = splits_of(*rows, *((f"y{i}.png", decomposed, "test") for i in range(3)))
    assert splits.train.class_names == splits.test.class_names == ("bar", composed)
    assert np.bincount(splits.test.labels).tolist() == [2, 3]
    assert "are merged" in caplog.text


def test_classes_are_numbered_in_natural_order() -> None:
    rows = [row for number in (10, 9, 2, 1) for row in many(f"class {number}", 5)]
    assert splits_of(*rows).train.class_names == ("class 1", "class 2", "class 9", "class 10")


def test_every_clash_is_kept_in_the_error() -> None:
    copies = [(f"x/copy-of-cat{i}.png", "bird", None) for i in range(7)]
    with pytest.raises(ClashError, match=r"7 files are in two classes .* and 4 more: keep each") as refused:
        splits_of(*many("cat", 9), *many("bird", 9), *copies)
    pairs = [(one.path.name, one.reason, other.path.name, other.reason) for one, other in refused.value.pairs]
    assert pairs == [(f"cat{i}.png", "cat", f"copy-of-cat{i}.png", "bird") for i in range(7)]


def test_folders_that_cannot_be_read_are_bad_and_refused_when_strict() -> None:
    paths, classes, sides = zip(*[*many("cat", 9), *many("bird", 9)], strict=True)
    listing = Listing(
        tuple(map(Path, paths)), classes, sides, "here", bad=(BadImage(Path("here/fish"), "cannot be opened: no"),)
    )
    assert [bad.path for bad in listed_splits(listing, "mine", fake_scan).bad] == [Path("here/fish")]
    with pytest.raises(DataError, match=r"1 of 19 images, folders and links cannot be read; here/fish cannot be op"):
        listed_splits(listing, "mine", fake_scan, strict=True)
