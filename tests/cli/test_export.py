"""`frostline export`."""

import json
from functools import partial

import numpy as np
import pytest

from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier
from tests.commands import lacking


def export(frostline, finished, *options):
    return frostline(
        "export", "first", "--output-dir", finished.folder.parent, "--cache-dir", finished.folder.parent, *options
    )


def test_int8_file_is_written_with_its_loss_of_accuracy(frostline, finished, tmp_path, fashion):
    done = export(frostline, finished, "--quantize", "int8", "--allow-loss")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first-int8.onnx", "first-int8.onnx.parity.json"]
    figures = json.loads((tmp_path / "first-int8.onnx.parity.json").read_text())
    assert figures["images"] == 280
    assert figures["largest_difference"] <= 1e-4
    int8 = figures["int8"]
    assert f"validation accuracy {int8['accuracy_after']:.4f}, before {int8['accuracy_before']:.4f}" in done.stdout
    assert int8["accuracy_before"] == pytest.approx(finished.metrics["val"]["accuracy"], abs=0.03)
    assert "the same class for all of 280 images" in done.stdout
    assert figures["bytes"] == int8["bytes_after"] < 0.3 * int8["bytes_before"]
    quantized = OnnxClassifier(tmp_path / "first-int8.onnx")
    assert quantized.about["quantized"] == "int8"
    images = np.asarray(fashion.test.images[:20])
    found, expected = (classifier.predict_proba(images) for classifier in (quantized, Classifier.load(finished.folder)))
    assert 1e-4 < np.abs(found - expected).max() < 0.3
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.8


def test_torch_program_is_written_to_output(frostline, finished, tmp_path):
    done = export(frostline, finished, "--format", "torch", "--output", tmp_path / "out" / "a.pt2", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.pt2", "a.pt2.parity.json"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--format", "onx"], "Did you mean 'onnx'?"),
        (["--format", "torch", "--quantize", "int8"], "--quantize int8 is for --format onnx"),
        (["--output", "model.bin"], "--output model.bin: expected a name that ends in .onnx"),
    ],
)
def test_invalid_options_are_refused(frostline, finished, tmp_path, options, fault):
    done = export(frostline, finished, *options)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert fault in line
    assert list(tmp_path.iterdir()) == []


def test_missing_onnxruntime_is_named_with_its_extra(frostline, finished, tmp_path):
    done = frostline("export", finished.folder, "--quiet", within=partial(lacking, "onnxruntime"))
    assert done.returncode == 2
    assert done.stderr == (
        "frostline: export needs onnxruntime, which is not installed: pip install 'frostline[export]'.\n"
    )
    assert list(tmp_path.iterdir()) == []
