"""`frostline predict`: only data on standard output."""

import csv
import io
import json
import os
import shutil
import subprocess
import termios
from contextlib import chdir
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.fashion_mnist import CLASS_NAMES
from frostline.inference.classifier import Classifier
from tests.cli.test_streams import reader_gone, stream_to
from tests.conftest import COMMAND
from tests.small_run import unfinish


@pytest.fixture
def images(fashion, tmp_path):
    """Three images in a folder with a long name, of three kinds."""
    folder = tmp_path / ("images of things that somebody wears " + "very " * 20 + "often")
    folder.mkdir()
    for number, (mode, name) in enumerate((("L", "a.png"), ("RGB", "b.jpg"), ("RGBA", "c.webp"))):
        image = Image.fromarray(np.asarray(fashion.test.images[number]))
        image.resize((28 * (number + 1), 40)).convert(mode).save(folder / name)
    return folder


@pytest.fixture
def predict(frostline, finished):
    def run(*arguments, **kwargs):
        return frostline("predict", "first", *arguments, "--output-dir", finished.folder.parent, **kwargs)

    return run


def test_json_is_json(predict, images, finished):
    done = predict(images, "--format", "json", "--top", 3)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    paths = sorted(images.iterdir())
    assert [entry["file"] for entry in found] == [str(path) for path in paths]
    expected = Classifier.load(finished.folder).predict_proba(paths)
    for entry, row in zip(found, expected, strict=True):
        best = row.argsort()[::-1][:3]
        assert [line["class"] for line in entry["predictions"]] == [CLASS_NAMES[i] for i in best]
        assert [line["probability"] for line in entry["predictions"]] == pytest.approx(row[best].tolist(), abs=1e-4)


def test_csv_is_csv(predict, images):
    done = predict(*sorted(images.iterdir()), "--format", "csv", "--top", 10)
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(lines) == 30
    assert [line["rank"] for line in lines[:10]] == [str(rank) for rank in range(1, 11)]
    assert {line["class"] for line in lines[:10]} == set(CLASS_NAMES)
    assert sum(float(line["probability"]) for line in lines[10:20]) == pytest.approx(1, abs=1e-4)
    assert lines[-1]["file"].endswith("c.webp")


def test_table_in_a_pipe_is_not_cut(predict, images):
    done = predict(images)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["file", "best", "2", "3", "4", "5"]
    for path, line in zip(sorted(images.iterdir()), lines, strict=True):
        assert line.startswith(str(path))
        assert "…" not in line
        assert sum(name in line for name in CLASS_NAMES) >= 5


def test_run_is_accepted_by_its_folder(frostline, finished, images):
    done = frostline("predict", finished.folder, images / "a.png", "--top", 1, "--format", "csv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


@pytest.fixture
def mixed(images):
    """The images, files that cannot be read, and names with control characters or formulas."""
    (images / "._a.png").write_text("passed over")
    (images / "=cmd.png").write_text("no image")
    (images / "\x1b[31m.png").write_bytes((images / "a.png").read_bytes()[:40])
    return images


def test_unreadable_files_are_reported_and_the_others_predicted(predict, mixed):
    done = predict(mixed, mixed / "nowhere.png", "--format", "json", "--top", 2)
    assert done.returncode == 0
    found = {entry["file"]: entry for entry in json.loads(done.stdout)}
    bad = {str(mixed / name) for name in ("=cmd.png", "\x1b[31m.png", "nowhere.png")}
    assert {name for name, entry in found.items() if not entry["predictions"]} == bad
    assert len(found) == 6
    assert found[str(mixed / "nowhere.png")]["error"] == "does not exist"
    assert found[str(mixed / "=cmd.png")]["error"].startswith("is not a readable image")
    *named, counted = done.stderr.splitlines()
    assert counted == "warning: 3 of 6 images could not be read; the others were used"
    assert len(named) == 3 and all(line.startswith("warning: ") for line in named)
    assert "\x1b" not in done.stderr and "\\x1b[31m.png" in done.stderr


def test_strict_predicts_the_others_and_exits_with_2(predict, mixed):
    done = predict(mixed, "--format", "csv", "--top", 1, "--strict")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("frostline: 2 of 5 images could not be read (--strict); ")
    assert len(done.stdout.splitlines()) == 6


def test_exit_code_is_2_if_no_file_can_be_read(predict, mixed):
    done = predict(mixed / "=cmd.png")
    assert done.returncode == 2
    assert "frostline: none of 1 images could be read; " in done.stderr
    assert "=cmd.png is not a readable image" in done.stderr


def test_csv_has_the_reason_and_no_formulas(predict, mixed):
    done = predict(".", "--format", "csv", "--top", 1, within=partial(chdir, mixed))
    assert done.returncode == 0
    lines = list(csv.reader(io.StringIO(done.stdout)))
    assert lines[0] == ["file", "rank", "class", "probability", "error"]
    by_name = {line[0]: line for line in lines[1:]}
    assert by_name["\\x1b[31m.png"][1:4] == ["", "", ""]
    assert by_name["'=cmd.png"][4].startswith("is not a readable image")
    assert by_name["a.png"][1] == "1" and by_name["a.png"][4] == ""


def test_table_has_the_reason(predict, mixed):
    done = predict(mixed)
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if "=cmd.png" in line]
    assert line.split("=cmd.png")[1].strip().startswith("cannot be used: is not a readable image")


def test_rejected_predictions_in_every_format(predict, images, finished):
    classifier = Classifier.load(finished.folder)
    paths = sorted(images.iterdir())
    expected = [float(row.max()) < classifier.threshold(0.5) for row in classifier.predict_proba(paths)]
    done = predict(images, "--format", "json", "--reject", 0.5)
    assert [entry["rejected"] for entry in json.loads(done.stdout)] == expected
    lines = list(csv.DictReader(io.StringIO(predict(images, "--format", "csv", "--reject", 0.5, "--top", 1).stdout)))
    assert [line["rejected"] == "true" for line in lines] == expected
    table = predict(images, "--reject", 0.5).stdout.splitlines()[1:]
    assert ["unknown (best guess " in line for line in table] == expected
    assert predict(images, "--reject", 0.9).returncode == 2


def test_images_are_sorted_into_folders_of_their_class(predict, mixed, tmp_path, finished):
    done = predict(mixed, "--sort-into", "out", "--format", "json", "--top", 1)
    assert done.returncode == 0
    placed = {entry["file"]: entry for entry in json.loads(done.stdout) if "sorted_to" in entry}
    assert len(placed) == 3
    for file, entry in placed.items():
        target = tmp_path / entry["sorted_to"]
        assert target.read_bytes() == Path(file).read_bytes()
        assert target.parent.name == entry["predictions"][0]["class"].replace("/", "_")
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 3
    again = predict(mixed, "--sort-into", "out", "--format", "json", "--top", 1)
    assert again.stdout == done.stdout
    assert "out: 3 were there already" in again.stderr
    refused = predict(mixed, "--sort-into", mixed / "out")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_output_file_is_complete_and_needs_overwrite_to_replace(predict, images, tmp_path):
    done = predict(images, "--format", "csv", "--output", "found.csv")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    text = (tmp_path / "found.csv").read_text()
    assert text == predict(images, "--format", "csv").stdout
    refused = predict(images, "--output", "found.csv")
    assert refused.returncode == 2
    assert refused.stderr == (
        "frostline: found.csv exists: --overwrite replaces it, or --output chooses another place.\n"
    )
    assert predict(images, "--output", "found.csv", "--overwrite").returncode == 0
    assert (tmp_path / "found.csv").read_text().startswith("file ")


def test_closed_pipe_and_full_disk(predict, images):
    gone = predict(images, "--format", "csv", within=reader_gone)
    assert (gone.returncode, gone.stderr) == (0, "")
    full = predict(images, "--format", "csv", within=partial(stream_to, 1, "/dev/full"))
    assert full.returncode == 2
    assert full.stderr.startswith("frostline: cannot write to standard output: the disk is full")


def test_invalid_options_are_refused(predict, images):
    for options, words in (
        (["--link", "hard"], "--link is for --sort-into"),
        (["--link", "soft", "--sort-into", "x"], "unknown kind of link 'soft'"),
        (["--max-pixels", 0], "--max-pixels 0: expected 1 or more"),
        (["--reject", -1], "--reject -1: expected the proportion"),
    ):
        done = predict(images, *options)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
    done = predict(images, "--max-pixels", 100)
    assert done.returncode == 2 and "claims 28 x 40 pixels" in done.stderr


def test_an_unfinished_run_cannot_predict(frostline, finished, images, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "runs" / "begun")
    unfinish(folder)
    shutil.rmtree(folder / "model")
    done = frostline("predict", "begun", images)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "contains no model: the run is not finished" in line


def test_misspelt_run_gets_the_nearest_name(frostline, finished, images):
    done = frostline("predict", "frist", images, "--output-dir", finished.folder.parent)
    assert done.returncode == 2
    assert done.stderr.endswith("runs there: first. Did you mean 'first'?\n")


def test_table_is_not_cut_if_only_stderr_is_a_terminal(finished, images, tmp_path):
    terminal, other_end = os.openpty()
    try:
        termios.tcsetwinsize(other_end, (24, 60))
        command = [COMMAND, "predict", finished.folder, images]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=other_end, stdin=other_end, text=True, check=False
        )
    finally:
        os.close(terminal)
        os.close(other_end)
    assert done.returncode == 0
    assert "…" not in done.stdout
    assert str(images / "c.webp") in done.stdout


def test_table_is_not_cut_on_a_narrow_terminal(finished, images, tmp_path):
    (tmp_path / "b.jpg").write_bytes((images / "b.jpg").read_bytes())
    expected = Classifier.load(finished.folder).predict_proba([tmp_path / "b.jpg"])[0]
    terminal, other_end = os.openpty()
    termios.tcsetwinsize(other_end, (24, 60))
    command = [COMMAND, "predict", finished.folder, "b.jpg"]
    done = subprocess.run(command, cwd=tmp_path, stdout=other_end, stderr=other_end, stdin=other_end, check=False)
    shown = os.read(terminal, 1 << 16).decode()
    os.close(terminal)
    os.close(other_end)
    assert done.returncode == 0
    assert "…" not in shown
    for probability in sorted(expected)[-5:]:
        assert f"{probability:.3f}" in shown
