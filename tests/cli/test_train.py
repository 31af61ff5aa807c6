"""`frostline train`: its output, interruption and resumption."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from frostline.runs.folder import Run
from tests.conftest import COMMAND
from tests.small_run import OPTIONS

EPOCH = re.compile(
    r"epoch +(\d+)/(\d+)  train loss \d+\.\d{4} accuracy [01]\.\d{4}  val loss \d+\.\d{4} accuracy [01]\.\d{4}  "
    r"lr \d\.\d\de-\d\d  \d+\.\d s(  best)?"
)


@pytest.fixture
def train(frostline, small_fashion):
    """Run a small training with more options."""

    def run(*options, **kwargs):
        fixed = ["--data-dir", small_fashion, "--limit", 240, "--val-fraction", 0.2]
        return frostline("train", "fashion-mnist", *fixed, *OPTIONS, *options, **kwargs)

    return run


def test_train_prints_progress_and_results_and_refuses_a_used_name(train, frostline, tmp_path):
    done = train("--epochs", 3, "--name", "mine", "--verbose")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    epochs = [match for line in lines if (match := EPOCH.fullmatch(line))]
    assert [match.groups()[:2] for match in epochs] == [("1", "3"), ("2", "3"), ("3", "3")]
    run = Run.load("mine", tmp_path / "runs")
    test = run.metrics["test"]
    assert re.search(rf"^accuracy +{test['accuracy']:.4f}$", done.stdout, re.MULTILINE)
    for word in (
        "95 % interval",
        "loss",
        "top-5 accuracy",
        "macro F1",
        "ECE",
        "uncalibrated",
        "Ankle boot",
        "most confused",
    ):
        assert word in done.stdout
    for count in (240, 40):
        assert f"frozen pass: {count} of {count} images to compute through conv5" in lines
    assert lines[-1].startswith("run folder: runs/mine")
    assert len([line for line in lines if re.fullmatch(r"device: \w+ \(.+\)", line)]) == 1
    before = (run.folder / "metrics.json").read_bytes()

    refused = train("--epochs", 1, "--name", "mine")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "frostline: run 'mine' exists (finished): choose another --name, --resume to continue it, "
        "or --overwrite to replace it."
    ]
    assert (run.folder / "metrics.json").read_bytes() == before

    other = train("--epochs", 1, "--name", "mine", "--overwrite", "--lr", 0.01)
    assert other.returncode == 0
    for count in (240, 40):
        assert f"frozen pass: all {count} features found in the cache" in other.stdout
    assert run.metrics["frozen_pass"]["from_cache"] == 280
    assert len(run.history) == 1

    resumed = train("--name", "mine", "--resume", "--epochs", 1, "--lr", 0.01)
    assert resumed.returncode == 0
    assert "run 'mine' is finished already; nothing to resume" in resumed.stdout


def test_quiet_prints_nothing(train, tmp_path):
    done = train("--epochs", 1, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Run.load("fashion-mnist-1", tmp_path / "runs").finished


def test_options_override_a_file(frostline, small_fashion, tmp_path):
    (tmp_path / "my.toml").write_text(
        f'data = "fashion-mnist"\ndata_dir = "{small_fashion}"\nweights = "random"\nimage_size = 64\ntaps = []\n'
        'limit = 120\nval_fraction = 0.2\nepochs = 7\nhead = "mlp"\nhidden_width = 16\n'
    )
    done = frostline("train", "--config", "my.toml", "--epochs", 2, "--output-dir", "elsewhere", "--name", "filed")
    assert (done.returncode, done.stderr) == (0, "")
    config = Run.load("filed", tmp_path / "elsewhere").config
    assert (config.epochs, config.head, config.hidden_width, config.limit, config.taps) == (2, "mlp", 16, 120, ())


def test_ctrl_c_leaves_a_run_that_resume_finishes(train, small_fashion, tmp_path):
    options = [*OPTIONS, "--limit", 600, "--epochs", 25, "--patience", 25, "--name", "long", "--head", "mlp"]
    command = [COMMAND, "train", "fashion-mnist", "--data-dir", small_fashion, *options]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if line.startswith("epoch  2/25"):
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    (message,) = [line for line in errors.splitlines() if line]
    assert message == (
        "frostline: interrupted; partial results are saved. Run the same command with --resume to continue."
    )
    run = Run.load("long", tmp_path / "runs")
    done_before = len(run.history)
    assert 1 <= done_before < 25
    assert not run.finished

    resumed = train("--name", "long", "--resume", "--limit", 600, "--val-fraction", 0.1, "--head", "mlp")
    assert (resumed.returncode, resumed.stderr) == (0, "")
    continued = int(re.search(r"continuing after epoch (\d+)", resumed.stdout)[1])
    assert continued in (done_before, done_before + 1)  # the state is written before the history
    assert [line.epoch for line in run.history] == list(range(1, 26))
    assert run.finished


def test_foreign_folder_is_refused_and_not_modified(frostline, tmp_path):
    thesis = tmp_path / "runs/mine/model/thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("thesis")
    for how in ((), ("--overwrite",), ("--resume",)):
        done = frostline("train", "fashion-mnist", "--name", "mine", "--weights", "/nonexistent.pth", *how)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "runs/mine exists and is not a run (it contains model): choose another --name" in done.stderr
        assert thesis.read_text() == "thesis"


def test_finished_run_without_its_settings_needs_overwrite(frostline, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "runs/mine")
    (run / "config.toml").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    weights = ("--weights", "/nonexistent.pth")
    for options, message in (
        ((), "run 'mine' exists (finished)"),
        (weights, "run 'mine' exists (finished)"),
        (("--overwrite", *weights), "/nonexistent.pth"),
        (("--resume",), "there is no runs/mine/config.toml"),
    ):
        done = frostline("train", "fashion-mnist", "--name", "mine", *options)
        assert done.returncode == 2
        assert message in done.stderr
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_folder_in_place_of_the_settings_is_refused(frostline, finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "runs/mine")
    (run / "config.toml").unlink()
    (run / "config.toml").mkdir()
    done = frostline("train", "fashion-mnist", "--name", "mine", "--resume")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "runs/mine/config.toml is a folder" in done.stderr
