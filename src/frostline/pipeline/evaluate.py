"""Evaluate a trained model on held-out images, on validation and, once, on the test split."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline._utils.progress import log
from frostline.data.check import image_name
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.held_out import held_out_results
from frostline.evaluation.metrics import Predictions
from frostline.evaluation.metrics import evaluate as measure
from frostline.features.extract import FrozenPass
from frostline.pipeline.train import TrainedModel
from frostline.training.calibration import best_temperature
from frostline.training.cross_validation import ridge_out_of_fold
from frostline.training.examples import Examples

CROSS_VALIDATED = 1_000  # training images; of more, the validation split alone is large enough
UNSEEN = -1.0  # the score of a class that a head has not seen: the target of images that are not of a class


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions and metrics of a trained model."""

    val: Predictions
    test: Predictions  # empty without a test split
    # "test" (None without a test split), "val", "calibration" and "held_out", as in metrics.json
    metrics: dict[str, Any]
    test_rows: Examples
    frozen_pass: FrozenPass  # over all images, test split included


def evaluate(model: TrainedModel, val: Predictions) -> Evaluation:
    """Compute the metrics of a model on ``val``, its validation predictions, and on the test split, read here first."""
    splits = model.plan.splits
    held_out = evaluate_held_out(model, val)
    log.info("evaluating on the test split, once" if len(splits.test) else "there is no test split to evaluate on")
    rows, done = model.features.test(model.last.features.forward)
    names = splits.train.class_names
    test = model.predict(rows) if len(rows) else Predictions(np.empty((0, len(names)), np.float32), rows.labels)
    predicted = {name: p for name, p in (("val", val), ("test", test)) if len(p.labels)}
    measured = {name: measure(p.probabilities, p.labels, names) for name, p in predicted.items()}
    calibration = before_and_after(model.temperature, {name: p.pair for name, p in predicted.items()})
    metrics = {"test": None, **measured, "calibration": calibration, "held_out": held_out}
    return Evaluation(val, test, metrics, rows, model.frozen_pass + done)


def evaluate_held_out(model: TrainedModel, val: Predictions) -> dict[str, Any]:
    """Return `held_out_results` of the validation split and, where they are few, of the training images.

    Each training image is classified by a closed-form head on the same features that was fitted without it.
    """
    splits, train = model.plan.splits, model.last.features.train
    names, parts, images = splits.train.class_names, [val], [(splits.val, "val")]
    if len(train) <= CROSS_VALIDATED and not model.last.trunk.stages:  # thawed stages have seen the labels
        rows = train.rows.take(np.arange(len(train))).flatten(1)
        scores = ridge_out_of_fold(rows, train.labels, splits.train.groups)
        if scores is not None:
            parts.append(_calibrated(scores, train.labels, len(names)))
            images.append((splits.train, "train"))
    predicted = Predictions(
        np.concatenate([part.probabilities for part in parts]), np.concatenate([part.labels for part in parts])
    )
    sources = [(part, split, number) for part, split in images for number in range(len(part))]
    return held_out_results(predicted, names, lambda i: image_name(sources[i][1], sources[i][0], sources[i][2]))


def _calibrated(scores: NDArray[np.float64], labels: NDArray[np.int64], classes: int) -> Predictions:
    """Return scores (N, classes up to the last that occurs) as probabilities of all classes."""
    every = np.pad(scores, ((0, 0), (0, classes - scores.shape[1])), constant_values=-np.inf)
    logits = torch.from_numpy(np.where(np.isfinite(every), every, UNSEEN))
    temperature = best_temperature(logits, torch.from_numpy(labels))
    return Predictions((logits / temperature).softmax(1).float().numpy(), labels)
