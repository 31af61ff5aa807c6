"""Images that stand in two splits are counted, named, and warned of once."""

import logging
from pathlib import Path

import numpy as np
import pytest

from frostline.data.check import overlaps, warn_of
from frostline.data.dataset import ImageDataset


def parts() -> dict[str, ImageDataset | None]:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    images[9], images[10] = images[0], images[1]
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 5])
    whole = ImageDataset(images, np.arange(12) % 2, ("a", "b"), groups=groups)
    return {"train": whole.subset(np.arange(8)), "val": None, "test": whole.subset(np.arange(8, 12))}


def test_identical_and_alike_images_are_counted_apart() -> None:
    (shared,) = overlaps(parts()).values()
    assert (shared.first, shared.second, shared.identical, shared.look_alike) == ("train", "test", 2, 1)
    assert shared.examples == (("train 0", "test 1"), ("train 1", "test 2"))
    assert shared.facts == {
        "identical": 2, "look_alike": 1, "examples": [["train 0", "test 1"], ["train 1", "test 2"]]
    }  # fmt: skip


def test_one_warning_says_what_is_shared(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "frostline"):
        warn_of(overlaps(parts()), "here")
    assert caplog.messages == [
        "here: splits share images, which makes results look better than they are: 2 of test are also in train and 1 "
        "look like one (identical: train 0 = test 1, train 1 = test 2)"
    ]


def test_nothing_is_said_of_splits_that_share_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clean = parts() | {"test": None}
    with caplog.at_level(logging.WARNING, "frostline"):
        warn_of(overlaps(clean), "here")
    assert caplog.messages == []
    assert overlaps(clean) == {}


def test_files_are_named_by_their_paths() -> None:
    rows = {Path("a/1.png"): b"1" * 16, Path("b/2.png"): b"1" * 16}
    one, other = (
        ImageDataset((path,), np.array([0]), ("a",), identify=lambda wanted: [rows[path] for path in wanted])
        for path in rows
    )
    assert overlaps({"train": one, "test": other})["train_test"].examples == (("a/1.png", "b/2.png"),)
