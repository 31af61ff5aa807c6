"""Files of a finished run: bundle, model card, evidence, index, sample, plots, and results in ``metrics.json``."""

import platform
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import nn

from frostline import __version__
from frostline._utils.device import describe_device
from frostline._utils.machine import peak_memory_bytes
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_json
from frostline.data.augment import make_augment
from frostline.data.check import EXAMPLES, blank_images
from frostline.data.dataset import Splits
from frostline.evaluation.rejection import calibrate_rejection
from frostline.pipeline.evaluate import evaluate
from frostline.pipeline.resolve import RunSplits
from frostline.pipeline.train import TrainedModel
from frostline.runs.bundle import Model, save_bundle, seal_bundle
from frostline.runs.embedding_index import write_index
from frostline.runs.evidence import write_evidence
from frostline.runs.model_card import write_card
from frostline.runs.plots import draw_confusion, draw_curves
from frostline.runs.sample import write_sample
from frostline.runs.writer import OpenRun


def write_artifacts(run: OpenRun, data: Splits, model: TrainedModel, start: float) -> dict[str, Any]:
    """Evaluate a trained model, write every file of its run and complete it; return the results.

    ``data`` is the whole data set, ``start`` the `time.perf_counter` at the start of the run.
    """
    config, network, splits = model.plan.config, model.plan.network, model.plan.splits
    trained, origin, names = model.trained, network.backbone.origin, splits.train.class_names
    val = model.predict(model.last.features.val)
    bundle = Model(
        network.backbone, network.boundary, network.preprocess, model.head, names, model.temperature,
        make_augment(config.augment).flip > 0, calibrate_rejection(val.probabilities),
    )  # fmt: skip
    save_bundle(bundle, run.model_folder)
    results = evaluate(model, val)
    fit = network.preprocess.fit
    rows = model.last.features.train
    mapped = write_index(
        run.index, model.last.trunk, model.head, rows, results.test_rows, splits.train, fit, config.seed
    )
    write_evidence(run, {"val": val, "test": results.test}, splits.test, mapped)
    if config.sample != "none":
        write_sample(run.sample, splits.val, network.preprocess.target)
    if "l2" not in model.facts:  # a head fitted in closed form has no epochs
        draw_curves(trained.history, trained.best_epoch, run.folder / "curves.png")
    shown, word = ("test", "test") if results.metrics["test"] else ("val", "validation")
    title = f"{data.name}: {word} accuracy {results.metrics[shown]['accuracy']:.4f}"
    draw_confusion(results.metrics[shown]["confusion"], names, title, run.folder / "confusion.png")
    metrics = {
        "schema": 1,
        **results.metrics,
        "frozen_pass": asdict(results.frozen_pass),
        "training": {"epochs": len(trained.history), "best_epoch": trained.best_epoch, "seconds": trained.seconds}
        | model.facts,
        "weights": {"name": origin.name, "sha256": origin.sha256} if origin else {},
        "model": {**_model_facts(model, bundle), "compared": run.begin_record.compared},
        "data": _data_facts(data, splits),
        "seed": config.seed,
        **_environment(model.features.context.device),
        "total_seconds": time.perf_counter() - start,
    }
    write_card(bundle, metrics, run.model_folder)
    seal_bundle(run.model_folder)
    write_json(run.folder / "metrics.json", metrics, OTHER_OUTPUT_DIR)
    run.complete()
    log.info(_result_line(metrics, time.perf_counter() - start))
    return metrics


def _model_facts(model: TrainedModel, bundle: Model) -> dict[str, Any]:
    config = model.plan.config
    return {
        "name": config.model,
        "freeze": config.freeze,
        "schedule": None if bundle.boundary.freeze == bundle.boundary.end else config.schedule,
        "taps": list(bundle.boundary.taps),
        "image_size": bundle.preprocess.image_size,
        "head": config.head,
        "prior": config.prior if config.head == "ridge" else None,
        "class_weights": config.class_weights,
        "parameters": _count_parameters(bundle.backbone.stages) + _count_parameters(bundle.head),
        "trainable_parameters": _count_parameters(model.module),
    }


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _data_facts(data: Splits, splits: RunSplits) -> dict[str, Any]:
    blank, classes = blank_images(data), len(splits.train.class_names)
    return {
        "name": data.name,
        "images": {part: len(images) for part, images in splits.by_name.items()},
        "fingerprint": {part: images.fingerprint for part, images in splits.by_name.items()},
        "class_images": {
            part: dict(zip(images.class_names, np.bincount(images.labels, minlength=classes).tolist(), strict=True))
            for part, images in splits.by_name.items()
        },
        "blank_images": {"count": len(blank), "examples": blank[:EXAMPLES]},
        "overlap": {pair: shared.facts for pair, shared in splits.overlaps.items()},
    }


def _environment(device: torch.device) -> dict[str, Any]:
    return {
        "versions": {
            "frostline": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "device": describe_device(device),
        "bit_reproducible": device.type == "cpu",
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _result_line(metrics: dict[str, Any], seconds: float) -> str:
    test = metrics["test"]
    if test is None:
        return (
            f"no test accuracy (there is no test split); validation accuracy {metrics['val']['accuracy']:.4f}, "
            f"optimistic because it selected the settings; {seconds:.1f} s in all"
        )
    low, high = test["accuracy_ci95"]
    return (
        f"test accuracy {test['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}) on {test['images']:,} images; "
        f"{seconds:.1f} s in all"
    )
