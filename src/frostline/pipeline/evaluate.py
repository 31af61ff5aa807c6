"""Evaluate a trained model on validation and, once, on the test split."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline._utils.progress import log
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.metrics import Predictions
from frostline.evaluation.metrics import evaluate as measure
from frostline.features.extract import FrozenPass
from frostline.pipeline.train import TrainedModel
from frostline.training.examples import Examples


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions and metrics of a trained model."""

    val: Predictions
    test: Predictions  # empty without a test split
    metrics: dict[str, Any]  # "test" (None without a test split), "val" and "calibration", as in metrics.json
    test_rows: Examples
    frozen_pass: FrozenPass  # over all images, test split included


def evaluate(model: TrainedModel, val: Predictions) -> Evaluation:
    """Compute the metrics of a model on ``val``, its validation predictions, and on the test split, read here first."""
    splits = model.plan.splits
    log.info("evaluating on the test split, once" if len(splits.test) else "there is no test split to evaluate on")
    rows, done = model.features.test(model.last.features.forward)
    names = splits.train.class_names
    test = model.predict(rows) if len(rows) else Predictions(np.empty((0, len(names)), np.float32), rows.labels)
    predicted = {name: p for name, p in (("val", val), ("test", test)) if len(p.labels)}
    measured = {name: measure(p.probabilities, p.labels, names) for name, p in predicted.items()}
    calibration = before_and_after(model.temperature, {name: p.pair for name, p in predicted.items()})
    metrics = {"test": None, **measured, "calibration": calibration}
    return Evaluation(val, test, metrics, rows, model.frozen_pass + done)
