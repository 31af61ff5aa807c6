"""Corrected data sets from edited tables, and refusal of invalid tables."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from frostline.data.registry import load_dataset
from frostline.errors import DataError, StorageError
from frostline.studies.audit.audit import audit
from frostline.studies.audit.corrections import write_corrected
from frostline.studies.audit.findings import COLUMNS
from tests.class_folders import write_classes
from tests.studies.audit.conftest import NAMES, NOISE, Planted


def lines_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(path, lines):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture
def label_lines(planted: Planted):
    return [line for line in lines_of(planted.folder / "audit.csv") if line["finding"] == "label"]


def test_a_part_of_the_table_corrects_arrays(planted: Planted, label_lines, tmp_path):
    noise = next(line for line in lines_of(planted.folder / "audit.csv") if line["finding"] == "outlier")
    assert noise["number"] == str(NOISE)
    path = write_corrected(
        planted.splits, write(tmp_path / "some.csv", [*label_lines[:2], noise | {"remove": "yes"}]), None
    )
    made = load_dataset(str(path))
    labels = planted.splits.train.labels.copy()
    for line in label_lines[:2]:
        labels[int(line["number"])] = NAMES.index(line["new_label"])
    assert np.array_equal(made.train.labels, np.delete(labels, NOISE))
    assert made.test.fingerprint == planted.splits.test.fingerprint
    assert len(made.train) == len(planted.splits.train) - 1


def test_files_keep_their_splits(fashion, planted: Planted, tmp_path, cache):
    root = write_classes(tmp_path / "photos", fashion.train, 30)
    for number in (1, 4, 9):
        (root / "bag" / f"{number:02d}.jpg").rename(root / "boot" / f"bag{number}.jpg")
    splits = load_dataset(str(root), cache_dir=cache)
    found = audit(planted.config, tmp_path / "audit", cache_dir=cache, splits=splits)
    lines = [one for one in lines_of(tmp_path / "audit" / "audit.csv")
             if Path(one["path"]).name.startswith("bag") and one["finding"] == "label"]  # fmt: skip
    assert lines and {(line["label"], line["new_label"]) for line in lines} == {("boot", "bag")}
    path = write_corrected(splits, write(tmp_path / "some.csv", lines), None)
    made = load_dataset(str(path), cache_dir=cache)
    assert path.name == "corrected.csv" and found.facts["findings"]["label"] >= len(lines)
    assert {p.resolve() for p in made.test.images} == {p.resolve() for p in splits.test.images}
    labels = {
        p.name: made.train.class_names[label] for p, label in zip(made.train.images, made.train.labels, strict=True)
    }
    assert {labels[Path(line["path"]).name] for line in lines} == {"bag"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"new_label": "Trousers"}, "unknown class 'Trousers'"),
        ({"new_label": ""}, "has no corrections: give a new_label, or yes in remove"),
        ({"remove": "perhaps"}, "remove: expected yes or nothing, got 'perhaps'"),
        ({"number": "-1"}, "number: expected the image's number in its split, got '-1'"),
        ({"number": "9999"}, "image 9999 of train is not the one that was audited"),
        ({"content": "00"}, "is not the one that was audited: the data set is different or has changed"),
        ({"split": "vall"}, "split: expected train, test, got 'vall'"),
        ({"label": "Coatt"}, "the image's label is no longer 'Coatt'"),
    ],
)
def test_lines_that_do_not_match_the_data_set_are_refused(planted: Planted, label_lines, tmp_path, change, fault):
    with pytest.raises(DataError) as error:
        write_corrected(planted.splits, write(tmp_path / "some.csv", [label_lines[0] | change]), None)
    assert fault in str(error.value)
    assert not (tmp_path / "corrected.npz").exists()


def test_contradictions_are_refused(planted: Planted, label_lines, tmp_path):
    twice = [label_lines[0], label_lines[0] | {"remove": "yes"}]
    with pytest.raises(DataError, match="line 3: line 2 corrects the same image differently"):
        write_corrected(planted.splits, write(tmp_path / "some.csv", twice), None)


def test_a_table_without_its_first_line_is_refused(planted: Planted, tmp_path):
    (tmp_path / "cut.csv").write_text("label,1.0,train\n")
    with pytest.raises(DataError, match="has no column split: expected an audit"):
        write_corrected(planted.splits, tmp_path / "cut.csv", None)


def test_existing_files_are_kept(planted: Planted, label_lines, tmp_path):
    table = write(tmp_path / "some.csv", label_lines)
    (tmp_path / "corrected.npz").write_text("mine")
    with pytest.raises(StorageError, match="exists: --overwrite replaces it, or --output chooses another place"):
        write_corrected(planted.splits, table, None)
    assert write_corrected(planted.splits, table, None, overwrite=True).stat().st_size > 1000
    with pytest.raises(DataError, match=r"corrected table ends in \.npz: change --output"):
        write_corrected(planted.splits, table, tmp_path / "x.csv")


@pytest.mark.parametrize("content", [b"\0" * 50, b"\xff\xfe" * 9, b'"' + b"a" * 200_000])
def test_invalid_tables_are_refused(planted: Planted, tmp_path, content):
    (tmp_path / "odd.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"odd\.csv"):
        write_corrected(planted.splits, tmp_path / "odd.csv", None)


def test_a_pipe_is_refused(planted: Planted, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match=r"pipe\.csv cannot be read \(it is no regular file\)"):
        write_corrected(planted.splits, tmp_path / "pipe.csv", None)
