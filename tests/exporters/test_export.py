"""A file that is known to do what `predict` does, or no file at all."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch

from frostline.config import TrainConfig
from frostline.errors import ConfigError, ExportError, RunError, StorageError, UnknownNameError
from frostline.exporters.export import export, write_verified
from frostline.exporters.exportable_model import export_record
from frostline.exporters.formats import ProgramClassifier, check_accuracy, to_pt2
from frostline.exporters.parity import check_parity, measure, real_images
from frostline.inference.classifier import Classifier
from frostline.inference.onnx import OnnxClassifier, check_seal
from frostline.runs.fit import fit
from frostline.runs.sample import read_sample
from tests.class_folders import write_classes


def deliver(content, model, parts, path):
    return write_verified(content, {"image_size": 64}, OnnxClassifier(content).answers, model, parts, path)


def test_a_file_that_gives_the_same_is_written_with_its_figures(content, model, parts, tmp_path):
    done = deliver(content, model, parts, tmp_path / "first.onnx")
    assert done.path.read_bytes() == content
    figures = json.loads((tmp_path / "first.onnx.parity.json").read_text())
    everything = sum(map(len, parts))
    assert (figures["images"], figures["same_top1"]) == (everything, everything + figures["varied"])
    assert figures["varied"] >= 16
    assert 0 < figures["largest_difference"] == done.parity.largest_difference <= 1e-4 == figures["limit"]
    assert figures["bytes"] == len(content)
    assert figures["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_sample_of_the_run_serves_as_its_images(finished, content, model, parts, tmp_path):
    """For the comparison, the calibration of int8 and its accuracy."""
    about, predict = export_record(finished), OnnxClassifier(content).answers
    sample = read_sample(finished)
    done = write_verified(
        content, about, predict, model, [sample], tmp_path / "a.onnx", quantize="int8", allow_loss=True
    )
    assert done.parity.images == done.int8["images"] == len(sample) == len(parts[0])
    assert done.int8["accuracy_before"] == pytest.approx(finished.metrics["val"]["accuracy"])
    assert OnnxClassifier(tmp_path / "a.onnx").about["quantized"] == "int8"


@pytest.mark.parametrize("change", ["head", "conv1", "not a number"])
def test_a_model_that_predicts_something_else_is_refused(content, model, parts, tmp_path, change):
    other = copy.deepcopy(model)
    with torch.no_grad():
        if change == "head":
            other.head.first.bias[3] += 1e-3
        elif change == "conv1":
            other.backbone.stages["conv1"][0].weight[0] *= -1
        else:
            other.head.first.bias[0] = float("nan")
    (tmp_path / "first.onnx").write_bytes(b"an older one")
    with pytest.raises(ExportError, match=r"first\.onnx predicts differently from .*: .* nothing was written"):
        deliver(content, other, parts, tmp_path / "first.onnx")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("first.onnx", b"an older one")]


def test_the_program_gives_what_predict_gives(program, finished, classifier, parts, tmp_path):
    path = tmp_path / "first.pt2"
    path.write_bytes(to_pt2(program, export_record(finished)))
    loaded = ProgramClassifier(path)
    assert loaded.class_names == classifier.class_names
    assert loaded.about["run"] == "first"

    def expected(images):
        probabilities = classifier.predict_proba(images)
        return probabilities, probabilities.argmax(1)

    parity = measure(expected, loaded.answers, real_images(parts, 96), 64, None)
    assert (parity.images, parity.varied) == (96, 7)
    check_parity(parity, "first.pt2")


def test_what_eight_bits_may_cost():
    check_accuracy(0.9, 0.895, allow_loss=False)
    check_accuracy(0.9, 0.5, allow_loss=True)
    with pytest.raises(ExportError, match=r"falls from 0\.9000 to 0\.8940, by 0\.60 points, .* --allow-loss"):
        check_accuracy(0.9, 0.894, allow_loss=False)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"format": "onx"}, UnknownNameError, "Did you mean 'onnx'"),
        ({"quantize": "int4"}, UnknownNameError, "Did you mean 'int8'"),
        ({"format": "torch", "quantize": "int8"}, ConfigError, "int8 is for --format onnx"),
        ({"allow_loss": True}, ConfigError, "belongs to --quantize int8"),
    ],
)
def test_impossible_options_are_refused(finished, options, kind, message):
    with pytest.raises(kind, match=message):
        export(finished, **options)


def test_a_name_says_what_the_file_is(finished, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a name that ends in \.onnx"):
        export(finished, tmp_path / "first.pt2")


def test_a_damaged_program_is_refused(program, finished, tmp_path):
    path = tmp_path / "first.pt2"
    whole = to_pt2(program, export_record(finished))
    assert check_seal(whole) == "intact"
    for place in (30, len(whole) // 2, len(whole) - 70, len(whole) - 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"first\.pt2 is damaged"):
            ProgramClassifier(path)


@pytest.mark.parametrize("taken", ["first.onnx", "first.onnx.parity.json"])
def test_a_file_that_is_there_is_not_replaced_unasked(finished, tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    with pytest.raises(StorageError, match=f"{taken} exists: --overwrite replaces it"):
        export(finished, tmp_path / "first.onnx")
    assert (tmp_path / taken).read_text() == "mine"


def test_folder_of_deep_and_transparent_images_is_exported(tmp_path, fashion):
    """Their levels are part of the file's record: an entry that does not apply is absent, not null."""
    folder = write_classes(tmp_path / "mixed", fashion.train)
    config = TrainConfig(data=str(folder), model="alexnet", weights="random", image_size=64, taps="none", head="ridge",
                         prior="none")  # fmt: skip
    run = fit(config, name="mixed", output_dir=tmp_path / "runs", cache_dir=tmp_path / "cache", verbose=0)
    exported, classifier = OnnxClassifier(export(run, tmp_path / "mixed.onnx").path), Classifier.load(run.model_folder)
    assert exported.levels == classifier.model.preprocess.levels is not None
    files = sorted(folder.rglob("*.png"))[:24]
    assert np.abs(exported.predict_proba(files) - classifier.predict_proba(files)).max() <= 1e-4
