"""`frostline explain`: written images and JSON."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image

from frostline.inference.classifier import Classifier
from tests.commands import lacking
from tests.small_run import reseal


@pytest.fixture
def images(fashion, tmp_path):
    """Three images: two of one stem, one of colors that is no square."""
    folder = tmp_path / "my images"
    folder.mkdir()
    for number, (mode, name) in enumerate((("L", "a.png"), ("RGB", "a.jpg"), ("RGB", "b $1 <i> 靴.png"))):
        image = Image.fromarray(np.asarray(fashion.test.images[number]))
        image.resize((28 + 40 * number, 30)).convert(mode).save(folder / name)
    return folder


@pytest.fixture
def explain(frostline, finished):
    def run(*arguments, **kwargs):
        return frostline("explain", "first", *arguments, "--output-dir", finished.folder.parent, **kwargs)

    return run


def test_json_lists_the_files_and_agrees_with_predict(explain, images, finished, tmp_path):
    done = explain(images, "--format", "json", "--stage", "conv2", "--top", 2, "--neighbors", 3)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["stage"], found["grid"], found["method"]) == ("conv2", 7, "gradcam")
    paths = sorted(images.iterdir())
    assert [one["file"] for one in found["images"]] == [str(path) for path in paths]
    classifier = Classifier.load(finished.folder)
    written = {found["sheet"]}
    for one, row in zip(found["images"], classifier.predict_proba(paths), strict=True):
        best = row.argsort()[::-1][:2]
        assert [line["class"] for line in one["classes"]] == [classifier.class_names[i] for i in best]
        assert [line["probability"] for line in one["classes"]] == pytest.approx(row[best].tolist(), abs=1e-4)
        assert [sorted(near) for near in one["neighbors"]] == [["class", "file", "similarity", "thumbnail"]] * 3
        for line in one["classes"]:
            with Image.open(tmp_path / line["map"]) as heat, Image.open(tmp_path / line["overlay"]) as over:
                assert (heat.format, heat.size, over.mode, over.size) == ("PNG", (320, 320), "RGB", (320, 320))
                assert line["blank"] == (not np.asarray(heat).max(axis=(0, 1)).max() > 50)
        written |= {line[kind] for line in one["classes"] for kind in ("map", "overlay")}
        written |= {one["image"], *(near["thumbnail"] for near in one["neighbors"])}
    output = tmp_path / "explained" / "first"
    assert written == {str(path.relative_to(tmp_path)) for path in output.rglob("*") if path.is_file()}
    assert sorted(path.name for path in output.iterdir()) == ["a", "a-2", "b-1-i-靴", "sheet.png"]


def test_foreign_folder_is_not_modified(explain, images, tmp_path):
    theirs = tmp_path / "thesis" / "sheet.png"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    done = explain(images / "a.png", "--output", "thesis")
    assert done.returncode == 2
    assert "exists and is not an explanation (it contains sheet.png): choose another --output" in done.stderr
    assert (theirs.read_text(), len(list(theirs.parent.iterdir()))) == ("mine", 1)


def test_table_and_contact_sheet(explain, images, tmp_path):
    done = explain(images / "a.png", "--output", "why", "--method", "hirescam")
    assert (done.returncode, done.stderr) == (0, "")
    heading, line, _, last = done.stdout.splitlines()
    assert heading.split() == ["file", "best", "2", "3", "nearest", "training", "images"]
    assert "a.png" in line and line.count(", ") == 4
    assert last == "wrote why/sheet.png, with a folder of images for each file beside it"
    with Image.open(tmp_path / "why" / "sheet.png") as sheet:
        assert sheet.format == "PNG" and sheet.width > 1000 and sheet.height < 600


def test_run_without_an_index(frostline, finished, images, tmp_path):
    old = tmp_path / "runs" / "old"
    shutil.copytree(finished.folder, old)
    (old / "index.safetensors").unlink()
    reseal(old)
    done = frostline("explain", "old", images / "a.png", "--format", "json", "--top", 1)
    assert done.returncode == 0
    assert done.stderr == "warning: run 'old' has no index.safetensors: similar training images are not shown\n"
    (one,) = json.loads(done.stdout)["images"]
    assert one["neighbors"] is None


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--stage", "covn5"], "unknown stage of alexnet as this model runs it 'covn5'"),
        (["--method", "grad-cam"], "unknown method 'grad-cam': expected one of gradcam, hirescam."),
        (["--format", "csv"], "unknown format 'csv': expected one of table, json."),
        (["--method", "gradcam", "--top", 0], "--top"),
    ],
)
def test_invalid_options_are_refused_and_nothing_is_written(explain, images, tmp_path, arguments, fault):
    (tmp_path / "notes.png").write_text("no image")
    done = explain(images, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert not (tmp_path / "explained").exists()


def test_unreadable_files_are_reported_and_the_others_explained(explain, images, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    done = explain(images, "notes.png", "nowhere.png", "--format", "json", "--top", 1)
    assert done.returncode == 0
    found = json.loads(done.stdout)["images"]
    assert [bool(one["classes"]) for one in found] == [True, True, True, False, False]
    assert [one["file"] for one in found[3:]] == ["nowhere.png", "notes.png"]
    assert found[4]["error"].startswith("is not a readable image")
    assert done.stderr.splitlines()[-1] == "warning: 2 of 5 images could not be read; the others were used"
    assert explain(images, "notes.png", "--strict").returncode == 2


def test_nothing_is_written_if_no_file_can_be_read(explain, tmp_path):
    (tmp_path / "notes.png").write_text("no image")
    done = explain("notes.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert "frostline: none of 1 images could be read; notes.png is not a readable image" in done.stderr
    assert not (tmp_path / "explained").exists()


def test_missing_captum_is_named_with_its_extra(frostline, finished, images, tmp_path):
    done = frostline("explain", finished.folder, "my images", within=partial(lacking, "captum"))
    assert done.returncode == 2
    assert done.stderr == "frostline: explain needs captum, which is not installed: pip install 'frostline[explain]'.\n"
    assert not (tmp_path / "explained").exists()
