"""What a run keeps of its evaluation says what metrics.json says."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from frostline.errors import RunError
from frostline.evaluation.metrics import evaluate, worth_showing
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run


def test_predictions_give_the_metrics_again(finished: Run) -> None:
    evidence, metrics = read_evidence(finished), finished.metrics
    names = list(metrics["test"]["per_class"])
    for split in ("val", "test"):
        predicted = getattr(evidence, split)
        assert evaluate(predicted.probabilities, predicted.labels, names) == metrics[split]


def test_images_worth_a_look_are_there(finished: Run) -> None:
    evidence = read_evidence(finished)
    wanted = worth_showing(evidence.test.probabilities, evidence.test.labels)
    assert np.array_equal(evidence.shown.positions, wanted)
    assert all(evidence.shown.at(position) for position in wanted)


def test_missing_and_damaged_are_said(finished: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "copy"))
    run.evidence.write_bytes(run.evidence.read_bytes()[:100])
    with pytest.raises(RunError, match="is not the file that Frostline wrote"):
        read_evidence(run)
    run.evidence.unlink()
    with pytest.raises(RunError, match=r"there is no .*evidence\.safetensors: run it again"):
        read_evidence(run)
