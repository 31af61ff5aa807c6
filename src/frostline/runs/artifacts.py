"""Files of a finished run: bundle and model card, evidence, index, plots, and the results in ``metrics.json``."""

import io
import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from frostline import __version__
from frostline._utils.device import describe_device
from frostline._utils.machine import peak_memory_bytes
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline.data.augment import make_augment
from frostline.evaluation.rejection import calibrate_rejection
from frostline.pipeline.evaluate import evaluate
from frostline.pipeline.resolve import RunSplits
from frostline.pipeline.train import TrainedModel
from frostline.runs.bundle import Model, save_bundle, seal_bundle
from frostline.runs.embedding_index import write_index
from frostline.runs.evidence import write_evidence
from frostline.runs.model_card import write_card
from frostline.runs.writer import OpenRun
from frostline.training.checkpoint import Epoch


def write_artifacts(run: OpenRun, data: str, model: TrainedModel, start: float) -> dict[str, Any]:
    """Evaluate a trained model, write every file of its run and complete it; return the results.

    ``data`` is the name of the data set, ``start`` the `time.perf_counter` at the start of the run.
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
    write_evidence(run, {"val": val, "test": results.test}, splits.test, fit)
    rows = model.last.features.train
    write_index(run.index, model.last.trunk, model.head, rows, results.test_rows, splits.train, fit, config.seed)
    draw_curves(trained.history, trained.best_epoch, run.folder / "curves.png")
    shown, word = ("test", "test") if results.metrics["test"] else ("val", "validation")
    title = f"{data}: {word} accuracy {results.metrics[shown]['accuracy']:.4f}"
    draw_confusion(results.metrics[shown]["confusion"], names, title, run.folder / "confusion.png")
    metrics = {
        "schema": 1,
        **results.metrics,
        "frozen_pass": asdict(results.frozen_pass),
        "training": {"epochs": len(trained.history), "best_epoch": trained.best_epoch, "seconds": trained.seconds}
        | model.facts,
        "weights": {"name": origin.name, "sha256": origin.sha256} if origin else {},
        "model": _model_facts(model, bundle),
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
        "parameters": _count_parameters(bundle.backbone.stages) + _count_parameters(bundle.head),
        "trainable_parameters": _count_parameters(model.module),
    }


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _data_facts(name: str, splits: RunSplits) -> dict[str, Any]:
    return {
        "name": name,
        "images": {part: len(images) for part, images in splits.by_name.items()},
        "fingerprint": {part: images.fingerprint for part, images in splits.by_name.items()},
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


LONGEST_NAME = 30
MOST_CLASSES = 40  # the confusion matrix of more classes grows no further: its names and squares get smaller
MOST_NAMES = 100  # more would not be legible, and take minutes to draw


def draw_curves(history: Sequence[Epoch], best_epoch: int, path: Path) -> None:
    """Draw loss and accuracy of both splits over the epochs as a PNG; the best epoch and each thawing are marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.145, top=0.905, wspace=0.27)
    epochs = [line.epoch for line in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, color in (("train", "#7a7a7a"), ("val", "#0b6fa4")):
            values = [getattr(line, f"{split}_{quantity}") for line in history]
            axes.plot(
                epochs, values, "o-", color=color, markersize=3.5, label="validation" if split == "val" else split
            )
        for before, line in pairwise(history):
            if line.freeze != before.freeze:
                _mark_thawing(axes, before.epoch + 0.5, line.freeze)
        axes.axvline(best_epoch, color="#c2410c", linewidth=1, linestyle=":", label=f"best epoch ({best_epoch})")
        axes.set(xlabel="epoch", ylabel=quantity, title=quantity.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)
    _save(figure, path)


def _mark_thawing(axes: Any, x: float, freeze: str) -> None:
    axes.axvline(x, color="#9a9a9a", linewidth=1)
    text = "all thawed" if freeze == "none" else f"thawed above {freeze}"
    style = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "color": "#555555"}
    axes.annotate(text, (x, 0.5), xycoords=("data", "axes fraction"), **style)


def draw_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix as a PNG: rows are the truth, colors are shares of the row, numbers are images."""
    from matplotlib.figure import Figure

    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(class_names)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in class_names]
    shown = min(classes, MOST_CLASSES)
    figure = Figure(figsize=(max(5.0, 0.62 * shown + 2.4), max(4.4, 0.55 * shown + 1.8)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = min(10.0, 10.0 * MOST_CLASSES / classes)
    if classes <= MOST_NAMES:
        axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, parse_math=False)
    if classes <= 30:  # more would not be legible
        for i in range(classes):
            for j in range(classes):
                if counts[i, j]:
                    ink = "white" if shares[i, j] > 0.5 else "#222222"
                    axes.text(j, i, counts[i, j], ha="center", va="center", color=ink, fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it draws a box: the names stand elsewhere too
        figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)
