"""What was evaluated, what `predict` gives and what the exported file gives: the same for the same images."""

from pathlib import Path

import numpy as np
import pytest

from frostline.data.registry import load_dataset
from frostline.exporters.exportable_model import export_program, export_record
from frostline.exporters.formats import to_onnx
from frostline.inference.classifier import Classifier, evaluate_run
from frostline.inference.onnx import OnnxClassifier
from frostline.pipeline.resolve import split
from frostline.runs.bundle import load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.fit import fit
from tests.small_run import small_config

LIMIT = 1e-4
RUNS = {
    "alexnet": {"freeze": "conv3", "taps": "conv2,conv5", "head": "mlp", "lr": 1e-4, "epochs": 1, "head_epochs": 2},
    "a head alone": {"epochs": 2},
    "efficientnet-lite0": {"model": "efficientnet-lite0", "image_size": 33, "freeze": "blocks_5", "epochs": 1},
    "timm:resnet18": {"model": "timm:resnet18", "image_size": 32, "epochs": 1},
}


@pytest.mark.parametrize("name", RUNS)
def test_evaluate_predict_and_onnx_agree(name: str, small_fashion: Path, tmp_path: Path, cache: Path) -> None:
    config = small_config(small_fashion, **RUNS[name])
    run = fit(config, name="first", output_dir=tmp_path, cache_dir=cache)
    model = load_bundle(run.model_folder)
    test = split(load_dataset("fashion-mnist", small_fashion), run.config).test
    evaluated = read_evidence(run).test.probabilities
    predicted = Classifier(model).predict_proba(test.images)
    given = OnnxClassifier(to_onnx(export_program(model), export_record(run), name), threads=1).predict_proba(
        test.images
    )
    for one in (predicted, given):
        assert np.abs(one - evaluated).max() <= LIMIT
        assert (one.argmax(1) == evaluated.argmax(1)).all()
    again = evaluate_run(run, cache_dir=cache)["test"]
    assert again["accuracy"] == float((given.argmax(1) == test.labels).mean())
