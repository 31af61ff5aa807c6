"""`python -m tools.pretraining`."""

import os

import pytest
from PIL import Image

from frostline._utils.hashing import sha256_file
from tests.commands import run_forked
from tests.quick import quick_runs
from tools.pretraining.__main__ import main


@pytest.fixture
def pretraining(tmp_path):
    """Run the tool in ``tmp_path``."""
    return lambda *arguments: run_forked(arguments, tmp_path, dict(os.environ), 300, within=quick_runs, program=main)


def test_pretrained_weights_are_used_by_train(frostline, pretraining, small_fashion, tmp_path):
    done = pretraining("--images", 300, "--output", "mine.safetensors", "--show", "sheet.png")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "wrote sheet.png"
    assert lines[1].startswith("300 images, ") and "probe of new objects" in lines[1]
    assert f"SHA-256 {sha256_file(tmp_path / 'mine.safetensors')}" in lines[-1]
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 500
    options = ("--val-fraction", 0.3, "--image-size", 64, "--epochs", 1)
    trained = frostline(
        "train", "fashion-mnist", "--data-dir", small_fashion, "--weights", "mine.safetensors", *options
    )
    assert trained.returncode == 0, trained.stderr
    assert "weights from mine.safetensors, as requested" in trained.stdout


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ([], "nothing to do"),
        (["--output", "x.safetensors"], "expected either --minutes or --images"),
        (["--output", "x.safetensors", "--minutes", 1, "--images", 10], "expected either --minutes or --images"),
        (["--minutes", 1], "need --output FILE"),
        (["--output", "x.safetensors", "--minutes", 0], "--minutes must be above 0"),
        (["--output", "x.safetensors", "--images", 1], "--images 2 or more"),
        (["--output", "x.pth", "--images", 10], "ends in .safetensors"),
        (["--output", "x.safetensors", "--images", 10, "--device", "abacus"], "abacus"),
        (["--output", "x.safetensors", "--images", 10, "--lr", 0], "--lr 0.0: expected a number above 0"),
        (["--output", "x.safetensors", "--images", 10, "--weights", "bundeld"], "Did you mean 'bundled'?"),
    ],
)
def test_impossible_options_get_one_line(pretraining, options, fault):
    done = pretraining(*options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert fault in line
