"""`frostline predict`: standard output carries the data and nothing else."""

import csv
import io
import json
import os
import subprocess
import termios

import numpy as np
import pytest
from PIL import Image

from frostline.images.fashion_mnist import CLASS_NAMES
from frostline.runs.predict import Classifier
from tests.conftest import COMMAND


@pytest.fixture
def pictures(fashion, tmp_path):
    """Three pictures in a folder with a long name, of three kinds."""
    folder = tmp_path / ("pictures of things that somebody wears " + "very " * 20 + "often")
    folder.mkdir()
    for number, (mode, name) in enumerate((("L", "a.png"), ("RGB", "b.jpg"), ("RGBA", "c.webp"))):
        picture = Image.fromarray(np.asarray(fashion.test.images[number]))
        picture.resize((28 * (number + 1), 40)).convert(mode).save(folder / name)
    return folder


@pytest.fixture
def predict(frostline, finished):
    def run(*arguments, **kwargs):
        return frostline("predict", "first", *arguments, "--output-dir", finished.folder.parent, **kwargs)

    return run


def test_json_is_json(predict, pictures, finished):
    done = predict(pictures, "--format", "json", "--top", 3)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    paths = sorted(pictures.iterdir())
    assert [entry["file"] for entry in found] == [str(path) for path in paths]
    expected = Classifier.load(finished.folder).predict_proba(paths)
    for entry, row in zip(found, expected, strict=True):
        best = row.argsort()[::-1][:3]
        assert [line["class"] for line in entry["predictions"]] == [CLASS_NAMES[i] for i in best]
        assert [line["probability"] for line in entry["predictions"]] == pytest.approx(row[best].tolist(), abs=1e-4)


def test_csv_is_csv(predict, pictures):
    done = predict(*sorted(pictures.iterdir()), "--format", "csv", "--top", 10)
    assert (done.returncode, done.stderr) == (0, "")
    lines = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(lines) == 30
    assert [line["rank"] for line in lines[:10]] == [str(rank) for rank in range(1, 11)]
    assert {line["class"] for line in lines[:10]} == set(CLASS_NAMES)
    assert sum(float(line["probability"]) for line in lines[10:20]) == pytest.approx(1, abs=1e-4)
    assert lines[-1]["file"].endswith("c.webp")


def test_a_table_in_a_pipe_cuts_no_name(predict, pictures):
    done = predict(pictures)
    assert (done.returncode, done.stderr) == (0, "")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["file", "best", "2", "3", "4", "5"]
    for path, line in zip(sorted(pictures.iterdir()), lines, strict=True):
        assert line.startswith(str(path))
        assert "…" not in line
        assert sum(name in line for name in CLASS_NAMES) >= 5


def test_a_run_may_be_given_by_its_folder(frostline, finished, pictures):
    done = frostline("predict", finished.folder, pictures / "a.png", "--top", 1, "--format", "csv")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


def test_what_cannot_be_read_is_named(predict, tmp_path, pictures):
    (tmp_path / "notes.png").write_text("no picture")
    for path, message in (
        (tmp_path / "notes.png", "notes.png is no picture that can be read"),
        (tmp_path / "nowhere", "no file or folder"),
    ):
        done = predict(pictures, path, "--format", "json")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert message in line


def test_an_unfinished_run_cannot_predict(frostline, finished, pictures, tmp_path):
    folder = tmp_path / "runs" / "begun"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_bytes((finished.folder / "config.toml").read_bytes())
    done = frostline("predict", "begun", pictures)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "holds no model: the run is not finished" in line


def test_a_misspelt_run_gets_the_nearest(frostline, finished, pictures):
    done = frostline("predict", "frist", pictures, "--output-dir", finished.folder.parent)
    assert done.returncode == 2
    assert done.stderr.endswith("runs there: first. Did you mean 'first'?\n")


def test_a_table_is_whole_also_when_only_the_messages_have_a_terminal(finished, pictures, tmp_path):
    terminal, other_end = os.openpty()
    try:
        termios.tcsetwinsize(other_end, (24, 60))
        command = [COMMAND, "predict", finished.folder, pictures]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=other_end, stdin=other_end, text=True, check=False
        )
    finally:
        os.close(terminal)
        os.close(other_end)
    assert done.returncode == 0
    assert "…" not in done.stdout
    assert str(pictures / "c.webp") in done.stdout


def test_a_narrow_terminal_cuts_nothing_off(finished, pictures, tmp_path):
    (tmp_path / "b.jpg").write_bytes((pictures / "b.jpg").read_bytes())
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
