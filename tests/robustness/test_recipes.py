"""Situations from users' bug reports: lost files, silently wrong results, tracebacks."""

import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import COMMAND
from tests.robustness.material import SIDE, draw_images

QUICK = ("--model", "alexnet", "--image-size", SIDE, "--prior", "none", "--no-report")
COLORS = {"red": 0, "blue": 2}


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder, except logs and locks, by path."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("log.txt", "lock")]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check for exit code 2 and a short message with these words."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 6, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


def best(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the most probable class of each image of `predict --format json`."""
    assert done.returncode == 0, done.stderr
    return [item["predictions"][0]["class"] for item in json.loads(done.stdout) if item.get("predictions")]


# --- files of users are not removed ---


@pytest.mark.parametrize("options", [("--weights", "/nonexistent.pth"), (), ("--overwrite",), ("--resume",)])
def test_a_folder_that_is_no_run_keeps_its_files(frostline, trained, options):
    thesis = trained / "runs" / "mine" / "model" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("thesis")
    refused(frostline("train", "p", "--name", "mine", *QUICK, *options), "mine")
    assert thesis.read_text() == "thesis"


@pytest.mark.parametrize("options", [("--weights", "/nonexistent.pth"), (), ("--resume",)])
def test_a_finished_run_without_its_settings_is_kept(frostline, trained, options):
    run = trained / "runs" / "first"
    (run / "config.toml").unlink()
    before = digests(run)
    refused(frostline("train", "p", "--name", "first", *QUICK, *options), "first")
    assert digests(run) == before


def test_settings_that_are_a_folder_start_no_new_run(frostline, trained):
    run = trained / "runs" / "first"
    (run / "config.toml").unlink()
    (run / "config.toml").mkdir()
    before = digests(run)
    refused(frostline("train", "p", "--name", "first", *QUICK, "--resume"), "config.toml")
    assert digests(run) == before


def test_prune_leaves_what_is_no_store(frostline, trained):
    notes = trained / "cache" / "activations" / "mine" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("notes")
    done = frostline("cache", "prune", "--all", "--cache-dir", "cache")
    assert done.returncode == 0, done.stderr
    assert notes.read_text() == "notes"
    left = [path for path in (trained / "cache" / "activations").iterdir() if path.is_dir()]
    assert left == [notes.parent]


def test_prune_does_not_follow_a_link(frostline, trained):
    store = next(path for path in (trained / "cache" / "activations").iterdir() if path.is_dir())
    elsewhere = trained / "elsewhere"
    store.rename(elsewhere)
    store.symlink_to(elsewhere)
    before = digests(elsewhere)
    done = frostline("cache", "prune", "--all", "--cache-dir", "cache")
    assert done.returncode in (0, 2), done.stderr
    assert digests(elsewhere) == before


# --- images keep their identity ---


def test_swapped_folders_with_equal_times_are_detected(frostline, tmp_path):
    draw_images(tmp_path / "p", COLORS)
    for path in (tmp_path / "p").rglob("*.bmp"):
        os.utime(path, (1_704_067_200, 1_704_067_200))
    assert frostline("train", "p", "--name", "a", *QUICK).returncode == 0
    (tmp_path / "p" / "red").rename(tmp_path / "x")
    (tmp_path / "p" / "blue").rename(tmp_path / "p" / "red")
    (tmp_path / "x").rename(tmp_path / "p" / "blue")
    assert frostline("train", "p", "--name", "b", *QUICK).returncode == 0
    assert best(frostline("predict", "b", "p/red/000.bmp", "p/blue/000.bmp", "--format", "json")) == ["red", "blue"]


@pytest.mark.parametrize("names", [("training_set", "test_set"), ("train", "dev"), ("Training", "Testing")])
def test_folders_of_splits_are_no_classes(frostline, tmp_path, names):
    for seed, name in enumerate(names):
        draw_images(tmp_path / "q" / name, COLORS, seed=seed)
    done = frostline("train", "q", "--name", "q", *QUICK)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs" / "q" / "metrics.json").read_text())
    assert sorted(metrics["test"]["per_class"]) == ["blue", "red"]


def test_folders_with_the_same_subfolders_are_refused(frostline, tmp_path):
    for seed, name in enumerate(("alpha", "beta")):
        draw_images(tmp_path / "q" / name, COLORS, seed=seed)
    refused(frostline("train", "q", "--name", "q", *QUICK), "alpha", "beta", "train")


def test_a_folder_around_the_classes_is_entered(frostline, tmp_path):
    draw_images(tmp_path / "archive" / "photos", COLORS)
    done = frostline("train", "archive", "--name", "q", *QUICK)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs" / "q" / "metrics.json").read_text())
    assert sorted(metrics["test"]["per_class"]) == ["blue", "red"]
    assert "photos" in done.stdout + done.stderr


def test_a_linked_folder_is_followed_once(frostline, tmp_path):
    draw_images(tmp_path / "p", COLORS, per_class=8)
    draw_images(tmp_path / "more", {"red": 0}, per_class=6, seed=5)
    (tmp_path / "p" / "red" / "more").symlink_to(tmp_path / "more" / "red")
    (tmp_path / "p" / "red" / "loop").symlink_to(tmp_path / "p")
    done = frostline("train", "p", "--name", "q", *QUICK)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "runs" / "q" / "metrics.json").read_text())
    assert sum(metrics["data"]["images"].values()) == 22


# --- one bad file does not affect the others ---


def test_predict_answers_for_the_good_images_of_a_folder(frostline, trained, material):
    folder = trained / "new"
    folder.mkdir()
    for name in ("a.bmp", "b.bmp"):
        shutil.copy(material / "p" / "red" / "000.bmp", folder / name)
    (folder / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\nthis is none")
    (folder / "._x.png").write_bytes(b"what a Mac leaves")
    done = frostline("predict", "first", "new", "--format", "json")
    assert best(done) == ["red", "red"]
    assert "damaged.png" in done.stderr
    assert "._x.png" not in done.stdout + done.stderr
    refused(frostline("predict", "first", "new", "--strict"), "damaged.png")


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"test": 3, "val": [], "total_seconds": "x"}', "\0"])
def test_runs_lists_the_others_when_one_is_damaged(frostline, trained, content):
    (trained / "runs" / "first" / "metrics.json").write_text(content)
    done = frostline("runs")
    assert done.returncode in (0, 2), done.stderr
    assert any(line.startswith("second") for line in done.stdout.splitlines())
    assert "Traceback" not in done.stderr
    assert "damaged" in done.stdout + done.stderr


# --- files are verified ---


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.485", "8.485"), ("0.229", "0.0"), ("0.229", "1e999"), ("0.229", "NaN"), ('"blue",', '"blue", "x",'),
        ('"conv5"', '"conv4"'),
    ],
)  # fmt: skip
def test_a_model_with_an_edited_description_is_refused(frostline, trained, old, new):
    path = trained / "runs" / "first" / "model" / "model.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    refused(frostline("predict", "first", "p/red/000.bmp"), "model.json")


def test_a_model_with_swapped_class_names_is_refused(frostline, trained):
    path = trained / "runs" / "first" / "model" / "model.json"
    about = json.loads(path.read_text())
    about["class_names"].reverse()
    path.write_text(json.dumps(about))
    refused(frostline("predict", "first", "p/red/000.bmp"), "model.json")


def test_results_of_another_run_are_refused(frostline, trained):
    shutil.copy(trained / "runs" / "second" / "metrics.json", trained / "runs" / "first" / "metrics.json")
    refused(frostline("evaluate", "first", "--cache-dir", "cache"), "metrics.json")


# --- streams, folders and names ---


@contextmanager
def ascii_streams() -> Iterator[None]:
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii", errors="strict")
    yield


@contextmanager
def deleted_folder() -> Iterator[None]:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    Path(folder).rmdir()
    yield


def test_a_stream_that_cannot_encode_a_character_is_no_problem(frostline, tmp_path):
    draw_images(tmp_path / "p", {"été": 0, "猫": 2})
    assert frostline("train", "p", "--name", "a", *QUICK, within=ascii_streams).returncode == 0
    done = frostline("predict", "a", "p/été/000.bmp", within=ascii_streams)
    assert done.returncode == 0, done.stderr
    assert "t\\xe9" in done.stdout or "?t?" in done.stdout


def test_class_names_cannot_write_to_the_terminal(frostline, tmp_path):
    draw_images(tmp_path / "p", {"red": 0, "b\x1b[31mlue": 2})
    done = frostline("train", "p", "--name", "a", *QUICK)
    refused(done, "b\\x1b[31mlue", "rename it")
    assert "\x1b" not in done.stdout + done.stderr


def test_class_names_compute_nothing_in_a_spreadsheet(frostline, tmp_path):
    draw_images(tmp_path / "p", {"=1+1": 0, "blue": 2})
    assert frostline("train", "p", "--name", "a", *QUICK).returncode == 0
    done = frostline("predict", "a", "p", "--format", "csv")
    assert done.returncode == 0, done.stderr
    cells = [row["class"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert any("=1+1" in cell for cell in cells)
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)


def run_with_output(
    words: tuple[object, ...], folder: Path, output: int | io.BufferedIOBase
) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, *map(str, words)]
    return subprocess.run(
        command, cwd=folder, stdout=output, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )


def test_a_closed_output_pipe_is_no_defect(trained):
    here, there = os.pipe()
    os.close(here)
    done = run_with_output(("predict", "first", "p/red"), trained, there)
    os.close(there)
    assert done.returncode != 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_full_device_is_named(trained):
    with Path("/dev/full").open("wb") as full:
        done = run_with_output(("runs",), trained, full)
    refused(done, "output")
    assert "Exception ignored" not in done.stderr


def test_a_deleted_working_folder_is_reported(frostline, trained):
    done = frostline("predict", trained / "runs" / "first", trained / "p" / "red" / "000.bmp", within=deleted_folder)
    refused(done, "working directory")


def test_an_empty_name_is_refused(frostline, trained):
    refused(frostline("train", "p", "--name", "", *QUICK), "--name")
    assert sorted(path.name for path in (trained / "runs").iterdir()) == ["first", "second"]


def test_moved_data_is_reported(frostline, tmp_path):
    draw_images(tmp_path / "p", COLORS)
    assert frostline("train", "p", "--name", "a", *QUICK).returncode == 0
    (tmp_path / "p").rename(tmp_path / "moved")
    refused(frostline("evaluate", "a", timeout=60), str(tmp_path / "p"), "--data")
    exported = frostline("export", "a")
    assert exported.returncode == 0 and f"no longer at {tmp_path / 'p'}" in exported.stdout + exported.stderr
    done = frostline("evaluate", "a", "--data", "moved")
    assert done.returncode == 0, done.stderr
    assert best(frostline("predict", "a", "moved/red/000.bmp", "--format", "json")) == ["red"]


def test_a_run_is_evaluated_from_another_folder(frostline, tmp_path):
    draw_images(tmp_path / "p", COLORS)
    assert frostline("train", "p", "--name", "a", *QUICK).returncode == 0

    done = frostline("evaluate", tmp_path / "runs" / "a", within=elsewhere)
    assert done.returncode == 0, done.stderr


@contextmanager
def elsewhere() -> Iterator[None]:
    os.chdir("/")
    yield
