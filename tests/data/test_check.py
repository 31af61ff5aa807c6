"""The check of a data set, and the images that splits share."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from frostline.data.check import CheckFinding, check, overlaps, warn_overlaps
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.fashion_mnist import load
from tests.conftest import Frostline, write_idx


@pytest.fixture(scope="module")
def real(fashion: Splits) -> dict[str, CheckFinding]:
    return {finding.what: finding for finding in check(fashion)}


def test_real_data_is_as_published(real: dict[str, CheckFinding]) -> None:
    assert [finding.what for finding in real.values() if finding.level == "problem"] == []
    published = [finding for finding in real.values() if finding.found == "content as published"]
    assert len(published) == 4
    assert real["counts"] == CheckFinding("counts", "60,000 train, 10,000 test")


def test_counts_and_ranges_of_the_real_data(real: dict[str, CheckFinding]) -> None:
    assert real["train labels"].found == "6,000 to 6,000 images in each class"
    assert real["test labels"].found == "1,000 to 1,000 images in each class"
    assert real["train pixels"].found == "28 x 28, values 0 to 255"


def test_duplicates_of_the_real_data_are_counted(fashion: Splits, real: dict[str, CheckFinding]) -> None:
    train, test = ({image.tobytes() for image in np.asarray(part.images)} for part in (fashion.train, fashion.test))
    assert real["images in both train and test"].found == f"{len(train & test)} identical"
    assert real["train repeated images"].found == f"{60_000 - len(train)} identical"
    assert real["test repeated images"].found == f"{10_000 - len(test)} identical"


def test_damaged_copy_is_found(fashion: Splits, tmp_path: Path) -> None:
    folder = shutil.copytree(fashion.source, tmp_path / "copy")
    labels = fashion.test.labels.copy()
    labels[17] = (labels[17] + 1) % 10
    for old in folder.glob("t10k-labels*"):
        old.unlink()
    write_idx(folder / "t10k-labels-idx1-ubyte", labels)
    wrong = [finding for finding in check(load(folder)) if finding.level == "problem"]
    assert wrong == [
        CheckFinding("t10k-labels-idx1-ubyte", "NOT the published content", "problem", "download its files again")
    ]


def test_smaller_copy_is_wrong_on_the_command_line(small_fashion: Path, frostline: Frostline) -> None:
    done = frostline("data", "check", "fashion-mnist", "--data-dir", small_fashion)
    assert done.returncode == 2
    assert "1,200 train, 300 test" in done.stdout
    assert sum(line.rstrip().endswith("problem") for line in done.stdout.splitlines()) == 5
    assert done.stderr.startswith("frostline: fashion-mnist differs from the published data: train-images-idx3-ubyte, ")
    assert done.stderr.count("\n") == 1


def tiny(train: np.ndarray, test: np.ndarray) -> Splits:
    parts = [ImageDataset(images, np.arange(len(images)) % 2, ("a", "b")) for images in (train, test)]
    return Splits("tiny", *parts, "memory")


def test_images_in_both_parts_are_found() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    findings = {f.what: f for f in check(tiny(images[:8], np.concatenate([images[3:5], images[8:]])))}
    shared = findings["images in both train and test"]
    assert (shared.found, shared.level) == ("2 identical", "note")
    assert shared.advice == "remove them from one of the two: the results on test are too optimistic"
    clean = {f.what: f for f in check(tiny(images[:8], images[8:]))}
    assert clean["images in both train and test"] == CheckFinding("images in both train and test", "0 identical")


def test_images_that_look_alike_in_both_parts_are_remarked() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    groups = np.array([1, 2, 3, 4, 5, 6, 2, 7, 8, 8])
    whole = ImageDataset(images, np.arange(10) % 2, ("a", "b"), groups=groups)
    splits = Splits("tiny", whole.subset(np.arange(6)), whole.subset(np.arange(6, 10)), "memory")
    findings = {f.what: f for f in check(splits)}
    remark = findings["similar images in train and test"]
    assert (remark.found, remark.level) == ("1 of test", "note")


def test_repeated_and_empty_images_are_remarked() -> None:
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8), dtype=np.uint8)
    images[1] = images[2] = images[0]
    images[4] = 77
    findings = {f.what: f for f in check(tiny(images[:8], images[8:]))}
    repeated, blank = findings["train repeated images"], findings["images of a single color"]
    assert (repeated.found, repeated.level) == ("2 identical", "note")
    assert (blank.found, blank.level, blank.advice) == ("1", "note", "replace or remove them: train 4")


def test_missing_class_and_black_images_are_noted_and_too_few_images_are_a_problem() -> None:
    black = ImageDataset(np.zeros((4, 8, 8), np.uint8), np.zeros(4, int), ("a", "b"))
    findings = check(Splits("tiny", black, black, "memory"))
    noted = {finding.what for finding in findings if finding.level == "note" and finding.advice}
    assert noted >= {"train labels", "train pixels", "test labels", "test pixels", "images of a single color"}
    assert [finding.what for finding in findings if finding.level == "problem"] == ["validation split"]


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
        warn_overlaps(overlaps(parts()), "here")
    assert caplog.messages == [
        "here: splits share images, which makes results too optimistic: 2 of test are also in train and 1 "
        "are similar to one (identical: train 0 = test 1, train 1 = test 2)"
    ]


def test_nothing_is_said_of_splits_that_share_nothing(caplog: pytest.LogCaptureFixture) -> None:
    clean = parts() | {"test": None}
    with caplog.at_level(logging.WARNING, "frostline"):
        warn_overlaps(overlaps(clean), "here")
    assert caplog.messages == []
    assert overlaps(clean) == {}


def test_files_are_named_by_their_paths() -> None:
    rows = {Path("a/1.png"): b"1" * 16, Path("b/2.png"): b"1" * 16}
    one, other = (
        ImageDataset((path,), np.array([0]), ("a",), identify=lambda wanted: [rows[path] for path in wanted])
        for path in rows
    )
    assert overlaps({"train": one, "test": other})["train_test"].examples == (("a/1.png", "b/2.png"),)
