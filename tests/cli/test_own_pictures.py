"""`frostline` on a person's own folder: mixed kinds of pictures, files that are none, and everything in between."""

import csv
import json
import tomllib

import pytest

from frostline.images.registry import load_dataset
from frostline.runs.folder import find_run
from tests.class_folders import CLASSES, write_classes, write_hostile

SMALL = ("--weights", "random", "--image-size", 64, "--taps", "none", "--epochs", 30, "--lr", 0.003)


@pytest.fixture
def pictures(tmp_path, fashion):
    return write_classes(tmp_path / "my pictures", fashion.train)


def test_a_folder_trains_and_what_cannot_be_read_is_named(pictures, frostline, fashion, tmp_path):
    hostile = write_hostile(pictures / "bag", fashion.train)
    done = frostline("train", "my pictures/", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "warning: 4 of 64 pictures cannot be read and are left out; my pictures/bag/empty.png is empty" in lines
    assert "data: my-pictures from my pictures, 3 classes" in lines
    assert "images: 45 train, 6 validation, 9 test" in lines
    run = find_run("my-pictures-1", tmp_path / "runs")
    with (run.folder / "bad_images.csv").open(newline="") as file:
        named = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert {path.removeprefix("my pictures/bag/") for path in named} == set(hostile)
    assert all(reason.startswith(hostile[path.rpartition("/")[2]]) for path, reason in named.items())
    assert list(run.metrics["test"]["per_class"]) == sorted(CLASSES)
    assert run.metrics["test"]["accuracy"] >= 7 / 9
    assert tomllib.loads((run.folder / "config.toml").read_text())["data"] == "my pictures/"

    again = frostline("train", "--config", run.folder / "config.toml", "--name", "again")
    assert (again.returncode, again.stderr) == (0, "")
    other = find_run("again", tmp_path / "runs").metrics
    assert (other["test"], other["val"]) == (run.metrics["test"], run.metrics["val"])
    assert other["frozen_pass"]["from_cache"] == 60

    for name in hostile:
        (pictures / "bag" / name).unlink()
    evaluated = frostline("evaluate", "my-pictures-1")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert "not the one" not in evaluated.stdout
    predicted = frostline("predict", "again", pictures / "boot", "--format", "json")
    assert predicted.returncode == 0
    best = [entry["predictions"][0]["class"] for entry in json.loads(predicted.stdout)]
    assert best.count("boot") >= 17


def test_strict_refuses_and_leaves_no_run(pictures, frostline, fashion, tmp_path):
    write_hostile(pictures / "bag", fashion.train)
    done = frostline("train", "my pictures", *SMALL, "--strict")
    assert done.returncode == 2
    assert done.stderr == (
        "frostline: my pictures: 4 of 64 pictures cannot be read; my pictures/bag/empty.png is empty: "
        "mend or remove them, or leave --strict out.\n"
    )
    assert not any((tmp_path / "runs").iterdir())


def test_a_folder_is_checked_and_shown(pictures, frostline, fashion, tmp_path):
    whole = frostline("data", "check", "my pictures/")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "17 to 17 images in each class" in whole.stdout
    shown = frostline("data", "show", "my pictures/")
    assert (shown.returncode, shown.stdout) == (0, "wrote my-pictures.png\n")
    again = frostline("data", "show", "my pictures/")
    assert again.stderr == (
        "frostline: my-pictures.png exists: --overwrite replaces it, or --output chooses another place.\n"
    )
    none = frostline("data", "show", "my pictures/", "--split", "val", "--overwrite")
    assert none.stderr == (
        "frostline: my pictures/ has no validation split of its own: each run draws one from train.\n"
    )
    assert frostline("data", "get", "my pictures").stdout == (
        "my-pictures: 51 train and 9 test images in my pictures\n"
    )
    write_hostile(pictures / "bag", fashion.train)
    checked = frostline("data", "check", "my pictures/")
    assert checked.returncode == 2
    assert checked.stderr == "frostline: my pictures/: not as it should be: pictures that cannot be read.\n"
    for name in ("truncated.jpg", "empty.png", "text.png", "huge.png"):
        assert f"my pictures/bag/{name}" in checked.stdout


def test_other_classes_than_the_run_had_are_refused(pictures, frostline, fashion, tmp_path):
    assert frostline("train", "my pictures", *SMALL, "--name", "first").returncode == 0
    load_dataset(str(pictures)).test.images[0].unlink()
    fewer = frostline("evaluate", "first")
    assert fewer.returncode == 0
    assert "the test split is not the one that run 'first' had: pictures came, went or changed" in fewer.stdout
    (pictures / "boot").rename(pictures / "shoe")
    refused = frostline("evaluate", "first")
    assert refused.returncode == 2
    assert refused.stderr == (
        "frostline: run 'first' knows the classes bag, boot, trouser, and my pictures now has bag, shoe, trouser: "
        "train again, or put back what was there.\n"
    )


def test_a_curve_and_a_range_test_take_a_folder(pictures, frostline, tmp_path):
    options = ("--weights", "random", "--image-size", 64)
    drawn = frostline(
        "curve", "my pictures", "--labels", "1,5", "--ways", "pixels,random-frozen", "--repeats", 1, *options
    )
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert (tmp_path / "curves" / "my-pictures" / "curve.csv").is_file()
    found = frostline("find-lr", "my pictures", *options, "--steps", 20)
    assert (found.returncode, found.stderr) == (0, "")


def test_its_own_splits_are_used(frostline, fashion, tmp_path):
    for split, part in (("train", fashion.train), ("valid", fashion.test)):
        write_classes(tmp_path / "mine" / split, part, 10)
    rows = [path for path in (tmp_path / "mine" / "valid").rglob("*.*") if path.stem in ("00", "03")]
    for path in rows:
        target = tmp_path / "mine" / "test" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    done = frostline("train", "mine", *SMALL, "--name", "x")
    assert (done.returncode, done.stderr) == (0, "")
    assert "images: 30 train, 24 validation, 6 test" in done.stdout
    assert json.loads((tmp_path / "runs" / "x" / "metrics.json").read_text())["val"]["images"] == 24


def test_a_table_of_pictures_trains(pictures, frostline, tmp_path):
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(pictures.rglob("*.*"))]
    (tmp_path / "garments.csv").write_text("\n".join(["file,class", *rows, "missing.png,bag"]) + "\n")
    done = frostline("train", "garments.csv", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "missing.png cannot be opened: No such file or directory" in done.stdout
    assert find_run("garments-1", tmp_path / "runs").finished
