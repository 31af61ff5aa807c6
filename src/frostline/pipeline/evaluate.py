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
    """What a trained model is worth.

    Attributes
    ----------
    val, test : Predicted
        ``test`` is empty where there is no test split.
    metrics : dict
        ``test`` (none without a test split), ``val`` and ``calibration``, as in ``metrics.json``.
    test_rows : Examples
        The rows of the test split.
    frozen_pass : FrozenPass
        Over all images, those of the test split included.
    """

    val: Predictions
    test: Predictions
    metrics: dict[str, Any]
    test_rows: Examples
    frozen_pass: FrozenPass


def evaluate(model: TrainedModel, val: Predictions) -> Evaluation:
    """Read the test split for the first time, and measure.

    Parameters
    ----------
    val : Predicted
        The model's predictions of the validation split.
    """
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
