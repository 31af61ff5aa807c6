"""A file that is known to do what `predict` does, or no file at all."""

import copy
import json

import numpy as np
import pytest
import torch

from frostline.errors import ConfigError, ExportError, UnknownNameError
from frostline.export.deliver import Wish, delivered, export_run
from frostline.export.origin import origin
from frostline.export.parity import demand, measure, real_pictures
from frostline.export.program import ProgramClassifier, to_pt2
from frostline.export.quantise import accuracy, demand_accuracy, to_int8
from frostline.runs.exported import OnnxClassifier


def deliver(content, model, parts, path):
    return delivered(content, {"image_size": 64}, OnnxClassifier(content).answers, model, parts, Wish(), path)


def test_a_file_that_gives_the_same_is_written_with_its_figures(content, model, parts, tmp_path):
    done = deliver(content, model, parts, tmp_path / "first.onnx")
    assert done.path.read_bytes() == content
    figures = json.loads((tmp_path / "first.onnx.parity.json").read_text())
    everything = len(parts.val) + len(parts.test) + len(parts.train)
    assert (figures["images"], figures["same_top1"]) == (everything, everything + figures["varied"])
    assert figures["varied"] >= 16
    assert 0 < figures["largest_difference"] == done.parity.largest_difference <= 1e-4 == figures["limit"]
    assert figures["bytes"] == len(content)


@pytest.mark.parametrize("change", ["head", "conv1", "not a number"])
def test_a_model_that_gives_something_else_is_refused(content, model, parts, tmp_path, change):
    other = copy.deepcopy(model)
    with torch.no_grad():
        if change == "head":
            other.head.first.bias[3] += 1e-3
        elif change == "conv1":
            other.backbone.stages["conv1"][0].weight[0] *= -1
        else:
            other.head.first.bias[0] = float("nan")
    (tmp_path / "first.onnx").write_bytes(b"an older one")
    with pytest.raises(ExportError, match=r"first\.onnx does not give what predict gives: .* nothing was written"):
        deliver(content, other, parts, tmp_path / "first.onnx")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("first.onnx", b"an older one")]


def test_the_program_gives_what_predict_gives(program, finished, classifier, parts, tmp_path):
    path = tmp_path / "first.pt2"
    path.write_bytes(to_pt2(program, origin(finished)))
    loaded = ProgramClassifier(path)
    assert loaded.class_names == classifier.class_names
    assert loaded.about["run"] == "first"

    def expected(images):
        probabilities = classifier.predict_proba(images)
        return probabilities, probabilities.argmax(1)

    parity = measure(expected, loaded.answers, real_pictures(parts, 96), 64, None)
    assert (parity.images, parity.varied) == (96, 7)
    demand(parity, "first.pt2")


def test_eight_bits_are_smaller_and_right_as_often(content, finished, parts, classifier):
    small = to_int8(content, origin(finished), parts.val, None)
    assert len(small) < 0.3 * len(content)
    quantised = OnnxClassifier(small, threads=1)
    assert quantised.about["quantised"] == "int8"
    before, after = (
        accuracy(OnnxClassifier(file, threads=1).answers, parts.test, "accuracy", None) for file in (content, small)
    )
    assert before == finished.metrics["test"]["accuracy"]
    assert abs(after - before) <= 2 / len(parts.test)
    images = parts.test.images[:20]
    gap = np.abs(quantised.predict_proba(images) - classifier.predict_proba(images)).max()
    assert 1e-4 < gap < 0.3


def test_what_eight_bits_may_cost():
    demand_accuracy(0.9, 0.895, allow_loss=False)
    demand_accuracy(0.9, 0.5, allow_loss=True)
    with pytest.raises(ExportError, match=r"falls from 0\.9000 to 0\.8940, by 0\.60 points, .* --allow-loss"):
        demand_accuracy(0.9, 0.894, allow_loss=False)


@pytest.mark.parametrize(
    ("wish", "kind", "message"),
    [
        ({"kind": "onx"}, UnknownNameError, "Did you mean 'onnx'"),
        ({"quantise": "int4"}, UnknownNameError, "Did you mean 'int8'"),
        ({"kind": "torch", "quantise": "int8"}, ConfigError, "int8 is for --format onnx"),
        ({"allow_loss": True}, ConfigError, "belongs to --quantize int8"),
    ],
)
def test_impossible_wishes_are_refused(wish, kind, message):
    with pytest.raises(kind, match=message):
        Wish(**wish)


def test_a_name_says_what_the_file_is(finished, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.onnx"):
        export_run(finished, Wish(), tmp_path / "first.pt2")
