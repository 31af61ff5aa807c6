"""Text of a report: sentences that describe the run, and figures linked to their entry of metrics.json."""

import json
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from frostline.models.backbone import GIVEN
from frostline.models.boundary import NONE
from frostline.report.contents import ReportContents

ORIGINS = {
    "bundled": "Frostline’s bundled weights, pre-trained on synthetic images",
    "imagenet": "weights pre-trained on ImageNet",
    "pretrained": "pre-trained weights published by the network’s package",
    "random": "random weights (no pre-training)",
    GIVEN: "the weights of the network that Python code passed in",
}
HEADS = {
    "linear": "a linear head",
    "mlp": "an MLP head",
    "ridge": "a ridge head (linear, fitted in closed form)",
}


def describe_run(found: ReportContents) -> Iterator[Markup]:
    """Yield sentences on the data, the head, the freeze boundary and the pre-trained weights."""
    metrics, model, images = found.metrics, found.metrics["model"], found.images
    data = Markup("<strong>{}</strong>").format(metrics["data"]["name"])
    if images:
        data += Markup(" ({:,} training, {:,} validation and {:,} test images)").format(
            images["train"], images["val"], images["test"]
        )
    yield Markup("<strong>{}</strong> with {}, trained on the {} classes of {} at {} px.").format(
        model["name"], HEADS.get(model["head"], model["head"]), len(found.class_names), data,
        figure(metrics, "model", "image_size", form="d"),
    )  # fmt: skip
    if found.solved:
        yield from _solution(found)
    yield _boundary(metrics, model)
    origin = metrics["weights"]
    if origin:
        text = ORIGINS.get(origin["name"]) or f"weights from {origin['name']}"
        yield Markup('It started from {} (SHA-256 <span title="{}">{}…</span>).').format(
            text, origin["sha256"], origin["sha256"][:12]
        )
    yield from _shared_images(metrics)
    if found.bad_images:
        yield Markup("Unreadable images that were skipped: {:,} (<code>bad_images.csv</code>).").format(
            found.bad_images
        )


def _shared_images(metrics: dict[str, Any]) -> Iterator[Markup]:
    """Warn if the test split shares images with the other splits, which makes its results optimistic."""
    for split, word in (("train", "training"), ("val", "validation")):
        shared = metrics["data"].get("overlap", {}).get(f"{split}_test") or {}
        same, alike = shared.get("identical", 0), shared.get("look_alike") or 0
        if same or alike:
            more = Markup(", and {:,} more are near-duplicates of one").format(alike) if alike else ""
            yield Markup("<strong>{:,} test images are also {} images</strong>{}: the results are optimistic.").format(
                same, word, more
            )


def _solution(found: ReportContents) -> Iterator[Markup]:
    """Describe the prior, the penalty and the accuracy of a ridge head."""
    metrics = found.metrics
    if metrics["model"]["prior"] == "drawn":
        yield Markup("The head uses a covariance prior, estimated from synthetic images.")
    text = Markup("Its L2 penalty, {:.3g}, was selected on the validation split.").format(metrics["training"]["l2"])
    if found.history:
        text += Markup(" Its accuracy is {} on the training images and {} on the validation images.").format(
            format_value(found.history[0].train_accuracy, "percent"),
            format_value(found.history[0].val_accuracy, "percent"),
        )
    yield text


def _boundary(metrics: dict[str, Any], model: dict[str, Any]) -> Markup:
    trained = figure(metrics, "model", "trainable_parameters", form=",")
    every = figure(metrics, "model", "parameters", form=",")
    reads = f", and the head reads {', '.join(model['taps'])}" if model["taps"] else ""
    if model["freeze"] == NONE:
        return Markup("No stage was frozen{}; {} of {} parameters were trained.").format(reads, trained, every)
    return Markup("The stages up to <strong>{}</strong> were frozen{}; {} of {} parameters were trained.").format(
        model["freeze"], reads, trained, every
    )


def gap(found: ReportContents) -> str:
    """Describe the gap between training and validation accuracy at the best epoch."""
    best = found.metrics["training"]["best_epoch"]
    if not 1 <= best <= len(found.history):
        return ""
    line = found.history[best - 1]
    points = 100 * (line.train_accuracy - line.val_accuracy)
    if points >= 0:
        text = (
            f"Epoch {best} is the best. Its training accuracy is {points:.1f} points above its validation accuracy: "
            "the generalization gap."
        )
    else:
        text = (
            f"Epoch {best} is the best. Its validation accuracy is {-points:.1f} points above its training accuracy, "
            "which is measured during the epoch, with augmentation and dropout."
        )
    if found.settings.get("label_smoothing"):
        text += (
            f" The training loss includes label smoothing ({found.settings['label_smoothing']:g}), the validation loss "
            "does not, so they are not comparable."
        )
    return text


def figure(metrics: dict[str, Any], *path: str | int, form: str = ".4f") -> Markup:
    """Return one entry of the metrics as HTML: ``<data>`` with the exact value beside the rounded one.

    Parameters
    ----------
    metrics : dict
    path : str or int
        Keys and positions, outermost first.
    form : str
        A format specification, ``percent`` (two digits), ``seconds`` or ``bytes``.
    """
    value: Any = metrics
    for key in path:
        value = value[key]
    where = json.dumps(path)
    return Markup('<data data-metric="{}" value="{}">{}</data>').format(where, repr(value), format_value(value, form))


def format_value(value: float, form: str) -> str:
    """Return a number as text."""
    if form == "percent":
        return f"{100 * value:.2f}\u202f%"
    if form == "seconds":
        return duration(value)
    if form == "bytes":
        return f"{value / 2**30:.2f} GiB"
    return format(value, form)


def duration(seconds: float) -> str:
    """Return ``4.2 s``, ``3 min 18 s`` or ``2 h 05 min``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
