"""`frostline` on a user's own folder with images of many kinds and files that cannot be read."""

import csv
import json
import os
import tomllib

import numpy as np
import pytest
from PIL import Image

from frostline.data.registry import load_dataset
from frostline.errors import DataError
from frostline.exporters.export import export
from frostline.inference.classifier import evaluate_run
from frostline.runs.folder import Run
from tests.class_folders import CLASSES, write_classes, write_hostile

SMALL = ("--weights", "random", "--image-size", 64, "--taps", "none", "--epochs", 30, "--lr", 0.003, "--no-report")


@pytest.fixture
def images(tmp_path, fashion):
    return write_classes(tmp_path / "my images", fashion.train)


def test_folder_is_trained_on_and_unreadable_files_are_listed(images, frostline, fashion, tmp_path):
    hostile = write_hostile(images / "bag", fashion.train)
    done = frostline("train", "my images/", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert f"warning: 4 of 64 images cannot be read and are left out; {images}/bag/empty.png is empty" in lines
    assert f"data: my-images from {images}, 3 classes" in lines
    assert "images: 45 train, 6 validation, 9 test" in lines
    run = Run.load("my-images-1", tmp_path / "runs")
    with (run.folder / "bad_images.csv").open(newline="") as file:
        named = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert {path.removeprefix(f"{images}/bag/") for path in named} == set(hostile)
    assert all(reason.startswith(hostile[path.rpartition("/")[2]]) for path, reason in named.items())
    assert list(run.metrics["test"]["per_class"]) == sorted(CLASSES)
    assert run.metrics["test"]["accuracy"] >= 7 / 9
    assert tomllib.loads((run.folder / "config.toml").read_text())["data"] == str(images)

    again = frostline("train", "--config", run.folder / "config.toml", "--name", "again")
    assert (again.returncode, again.stderr) == (0, "")
    other = Run.load("again", tmp_path / "runs").metrics
    assert (other["test"], other["val"]) == (run.metrics["test"], run.metrics["val"])
    assert other["frozen_pass"]["from_cache"] == 60

    for name in hostile:
        (images / "bag" / name).unlink()
    evaluated = frostline("evaluate", "my-images-1")
    assert (evaluated.returncode, evaluated.stderr) == (0, "")
    assert "not the one" not in evaluated.stdout
    predicted = frostline("predict", "again", images / "boot", "--format", "json")
    assert predicted.returncode == 0
    best = [entry["predictions"][0]["class"] for entry in json.loads(predicted.stdout)]
    assert best.count("boot") >= 17


def test_strict_refuses_and_leaves_no_run(images, frostline, fashion, tmp_path):
    write_hostile(images / "bag", fashion.train)
    done = frostline("train", "my images", *SMALL, "--strict")
    assert done.returncode == 2
    assert done.stderr == (
        f"frostline: {images}: 4 of 64 images cannot be read; {images}/bag/empty.png is empty: "
        "repair or remove them, or omit --strict.\n"
    )
    assert not any((tmp_path / "runs").iterdir())


def test_a_folder_is_checked_and_shown(images, frostline, fashion, tmp_path):
    whole = frostline("data", "check", "my images/")
    assert (whole.returncode, whole.stderr) == (0, "")
    assert "17 to 17 images in each class" in whole.stdout
    scale = "my images: 6 images have 16-bit or 32-bit integers, read with 0 as black and 65,535 as white\n"
    shown = frostline("data", "show", "my images/")
    assert (shown.returncode, shown.stdout) == (0, f"{scale}wrote my-images.png\n")
    again = frostline("data", "show", "my images/")
    assert again.stderr == (
        "frostline: my-images.png exists: --overwrite replaces it, or --output chooses another place.\n"
    )
    none = frostline("data", "show", "my images/", "--split", "val", "--overwrite")
    assert none.stderr == ("frostline: my images/ has no validation split: each run draws one from train.\n")
    assert frostline("data", "get", "my images").stdout == (
        f"{scale}my-images: 51 train and 9 test images in my images\n"
    )
    write_hostile(images / "bag", fashion.train)
    checked = frostline("data", "check", "my images/")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "note: images that cannot be read: repair or remove them; train leaves them out, --strict refuses them" in (
        checked.stdout
    )
    for name in ("truncated.jpg", "empty.png", "text.png", "huge.png"):
        assert f"my images/bag/{name}" in checked.stdout


def test_changed_classes_are_refused(images, frostline, fashion, tmp_path):
    assert frostline("train", "my images", *SMALL, "--name", "first").returncode == 0
    load_dataset(str(images)).test.images[0].unlink()
    fewer = frostline("evaluate", "first")
    assert fewer.returncode == 0
    assert "the test split differs from that of run 'first': images were added, removed or changed" in fewer.stdout
    (images / "boot").rename(images / "shoe")
    refused = frostline("evaluate", "first")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"frostline: run 'first' has the classes bag, boot, trouser, and {images} now has bag, shoe, trouser: "
        "train again, or restore the data set.\n"
    )


def test_curve_and_range_test_on_a_folder(images, frostline, tmp_path):
    options = ("--weights", "random", "--image-size", 64)
    drawn = frostline(
        "curve", "my images", "--labels", "1,5", "--ways", "pixels,random-frozen", "--repeats", 1, *options
    )
    assert (drawn.returncode, drawn.stderr) == (0, "")
    assert (tmp_path / "curves" / "my-images" / "curve.csv").is_file()
    found = frostline("find-lr", "my images", *options, "--steps", 20)
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


def test_a_table_of_images_trains(images, frostline, tmp_path):
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(images.rglob("*.*"))]
    (tmp_path / "garments.csv").write_text("\n".join(["file,class", *rows, "missing.png,bag"]) + "\n")
    done = frostline("train", "garments.csv", *SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    assert "missing.png cannot be opened: No such file or directory" in done.stdout
    assert Run.load("garments-1", tmp_path / "runs").finished


FEW = ("--image-size", 63, "--taps", "none", "--head", "ridge", "--prior", "none", "--weights", "random", "--no-report")
COLORS = {"red": 0, "blue": 2}


def write_squares(root, count=20):
    random = np.random.default_rng(0)
    for name, channel in COLORS.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(90, 160, (48, 48, 3), dtype=np.uint8)
            pixels[8:40, 8:40] = 20
            pixels[8:40, 8:40, channel] = 230
            Image.fromarray(pixels).save(root / name / f"{number:03d}.bmp")
    return root


def test_swapped_folders_of_equal_times_are_noticed(frostline, tmp_path):
    squares = write_squares(tmp_path / "p")
    for path in squares.rglob("*.bmp"):
        os.utime(path, (1_700_000_000, 1_700_000_000))
    assert frostline("train", "p", *FEW, "--name", "a").returncode == 0
    for source, target in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (squares / source).rename(squares / target)
    assert frostline("train", "p", *FEW, "--name", "b").returncode == 0
    output = frostline("predict", "b", "p/red", "p/blue", "--format", "json").stdout
    assert all(entry["file"].split("/")[1] == entry["predictions"][0]["class"] for entry in json.loads(output))


def test_a_run_finds_its_data_from_another_folder_and_where_it_was_moved(frostline, tmp_path, monkeypatch):
    squares = write_squares(tmp_path / "p")
    assert frostline("train", "p", *FEW, "--name", "a").returncode == 0
    run = Run.load("a", tmp_path / "runs")
    assert run.config.data == str(squares)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    accuracy = run.metrics["test"]["accuracy"]
    assert evaluate_run(run)["test"]["accuracy"] == accuracy
    squares.rename(tmp_path / "moved")
    with pytest.raises(DataError, match=r"the images of run 'a' are no longer at .*/p: they were moved.*--data PATH"):
        evaluate_run(run)
    (tmp_path / "runs" / "a" / "sample.safetensors").unlink()
    with pytest.raises(DataError, match="the images of run 'a' are no longer at"):
        export(run)
    assert evaluate_run(run, data="../moved")["test"]["accuracy"] == accuracy


def test_missing_path_is_not_called_an_unknown_name(frostline, tmp_path):
    for data in ("no/where", "/no/where", "no.csv"):
        done = frostline("train", data, *FEW)
        assert done.returncode == 2
        assert done.stderr.startswith(f"frostline: there is no folder or file {data}")


def test_run_without_test_split(frostline, tmp_path):
    write_squares(tmp_path / "p", 2)
    done = frostline("train", "p", *FEW[:-1], "--name", "a", "--test-fraction", 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert "images: 2 train, 2 validation, 0 test" in done.stdout
    assert "there is no test split, so accuracy on new images was not measured." in done.stdout
    assert "top-5" not in done.stdout  # of two classes
    run = Run.load("a", tmp_path / "runs")
    assert run.metrics["test"] is None
    assert run.metrics["val"]["images"] == 2
    assert "This run has no test split" in (run.folder / "report.html").read_text()
    assert "There was no test split." in (run.model_folder / "MODEL_CARD.md").read_text()
    again = frostline("evaluate", "a")
    assert (again.returncode, again.stderr) == (0, "")
    assert "there is no test split" in again.stdout
    assert frostline("predict", "a", "p/red/000.bmp").returncode == 0
    listed = frostline("runs").stdout.splitlines()[1].split()
    assert listed[-2] == "-"
    other = frostline("train", "p", *FEW, "--name", "b", "--test-fraction", 0, "--seed", 1)
    assert other.returncode == 0
    compared = frostline("compare", "a", "b")
    assert compared.returncode == 2
    assert compared.stderr == ("frostline: run 'a' has no test split (--test-fraction 0), so it cannot be compared.\n")


def test_images_in_two_splits_are_reported_and_kept(frostline, tmp_path):
    write_squares(tmp_path / "p" / "train")
    for name in COLORS:
        (tmp_path / "p" / "test" / name).mkdir(parents=True)
        for number in (3, 7):
            target = tmp_path / "p" / "test" / name / f"{number}.bmp"
            target.write_bytes((tmp_path / "p" / "train" / name / f"{number:03d}.bmp").read_bytes())
    done = frostline("train", "p", *FEW, "--name", "a")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "splits share images" in line]
    assert "of test are also in train" in line
    shared = Run.load("a", tmp_path / "runs").metrics["data"]["overlap"]
    assert shared["train_test"]["identical"] + shared["val_test"]["identical"] == 4
    checked = frostline("data", "check", "p")
    assert "4 identical" in checked.stdout


def test_every_clash_is_listed_by_the_check(frostline, tmp_path):
    squares = write_squares(tmp_path / "p", 6)
    for number in range(5):
        (squares / "blue" / f"copy{number}.bmp").write_bytes((squares / "red" / f"{number:03d}.bmp").read_bytes())
    done = frostline("data", "check", "p")
    assert done.returncode == 2
    assert "5 files are in two classes with the same content" in done.stderr
    assert all(f"p/blue/copy{number}.bmp" in done.stdout for number in range(5))


def test_a_table_with_columns_of_other_names_and_groups_trains(frostline, tmp_path):
    squares = write_squares(tmp_path / "p")
    lines = [f"{p.parent.name}/{p.stem};{p.parent.name};{int(p.stem) // 2}" for p in sorted(squares.rglob("*.bmp"))]
    (tmp_path / "t.csv").write_text("\n".join(["Datei;Art;Tier", *lines]), encoding="utf-8-sig")
    columns = ("--path-column", "Datei", "--label-column", "Art", "--group-column", "Tier", "--root", "p")
    done = frostline("train", "t.csv", *columns, *FEW, "--name", "a")
    assert (done.returncode, done.stderr) == (0, "")
    assert "images of one group share a split: 10 groups" in done.stdout
    assert Run.load("a", tmp_path / "runs").metrics["test"]["images"] == 4
    evaluated = frostline("evaluate", "a")
    assert (evaluated.returncode, "not the one" in evaluated.stdout) == (0, False)
    refused = frostline("train", "p", "--path-column", "Datei", *FEW)
    assert refused.stderr.startswith("frostline: --path-column applies to tables (.csv, .tsv, .parquet) only: ")


def test_link_loop_is_reported_and_refused_when_strict(frostline, tmp_path):
    squares = write_squares(tmp_path / "p")
    (squares / "red" / "up").symlink_to("..", target_is_directory=True)
    done = frostline("train", "p", *FEW, "--name", "a")
    assert done.returncode == 0
    assert "/p/red/up is a link to a folder that contains it" in done.stdout
    assert "is a link to a folder that contains it" in (tmp_path / "runs/a/bad_images.csv").read_text()
    strict = frostline("train", "p", *FEW, "--strict")
    assert strict.returncode == 2
    assert "/p/red/up is a link to a folder that contains it: repair or remove them" in strict.stderr
