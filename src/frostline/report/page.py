"""The report of a run: one self-contained HTML page from the files of the run folder, deterministic."""

import json
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT, write_bytes
from frostline._utils.text import templates
from frostline.data.encoding import data_url, to_png
from frostline.evaluation.calibration import BINS, diagram_bins, reliability, uncalibrated
from frostline.evaluation.metrics import TOP
from frostline.evaluation.summary import short_path, summarize
from frostline.models.backbone import GIVEN
from frostline.models.boundary import NONE
from frostline.report.charts import curves, diagram, draw_map
from frostline.report.classes import HARDEST, describe_classes
from frostline.report.confusion import describe_confusion
from frostline.report.contents import ReportContents, gather
from frostline.report.galleries import Exhibits
from frostline.report.glossary import Terms
from frostline.report.hover import hover_images
from frostline.runs.evidence import Evidence
from frostline.runs.folder import Run

FILE = "report.html"
MOST_FILTERS = 96
FILTERS_PER_ROW = 16


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run, by default as ``report.html`` in its folder, and return its path."""
    path = path or run.folder / FILE
    log.info("report: %s", path)
    write_bytes(path, page(gather(run)).encode(errors="replace"), OTHER_OUTPUT)
    return path


def page(found: ReportContents) -> str:
    """Return the page as HTML."""
    environment = templates("frostline.report")
    environment.filters["short_path"] = short_path
    environment.filters["percent"] = lambda value: format_value(value, "percent")
    return environment.get_template("report.html").render(
        run=found,
        metrics=found.metrics,
        figure=partial(figure, found.metrics),
        top=TOP,
        hardest=HARDEST,
        bins=BINS,
        use=usage(found) if found.finished else None,
        term=Terms(),
        again=f"frostline train --config config.toml --name {shlex.quote(found.name + '-again')}",
        **_parts(found),
    )


RESULT_PARTS = (
    "summary",
    "suspected",
    "sentences",
    "gap",
    "test",
    "names",
    "matrix",
    "classes",
    "galleries",
    "diagrams",
    "diagram_bins",
    "map",
    "hover",
)


def _parts(found: ReportContents) -> dict[str, Any]:
    """Return the variables of the template; ``None`` or empty if the run does not have them."""
    best = found.metrics["training"]["best_epoch"] if found.metrics else 0
    filters = found.filters
    parts: dict[str, Any] = {
        **dict.fromkeys(RESULT_PARTS),
        "curves": curves(found.history, best) if found.history and not found.solved else [],
        "filters": None if filters is None else mosaic(filters),
        "filters_shown": 0 if filters is None else min(MOST_FILTERS, len(filters)),
    }
    if found.metrics:
        held_out = found.metrics.get("held_out") or {}
        parts |= {"summary": summarize(found.metrics), "suspected": held_out.get("suspected", [])}
        parts |= {"sentences": list(describe_run(found)), "gap": gap(found), "names": found.class_names}
        if found.metrics["test"]:
            parts |= _test_parts(found, found.metrics["test"])
    return parts


def _test_parts(found: ReportContents, test: dict[str, Any]) -> dict[str, Any]:
    names, evidence = found.class_names, found.evidence
    parts: dict[str, Any] = {
        "test": test,
        "matrix": describe_confusion(test["confusion"], names),
        "classes": describe_classes(test["per_class"], found.metrics["data"].get("class_images", {}), found.index),
    }
    if evidence is None:
        return parts
    parts["galleries"] = Exhibits(evidence, names, found.overlays, found.settings.get("fit", "crop")).galleries()
    if "calibration" in found.metrics:
        parts["diagram_bins"] = diagram_bins(test["images"])
        parts["diagrams"] = _diagrams(evidence, found.metrics["calibration"]["temperature"])
    if found.index is not None:
        parts["map"] = drawn = draw_map(found.index, evidence.test, names)
        if drawn is not None:
            parts["hover"] = hover_images(found.index.test_positions, drawn.positions, evidence, names)
    return parts


def _diagrams(evidence: Evidence, temperature: float) -> list[Markup]:
    after, labels = evidence.test.pair
    bins = diagram_bins(len(labels))
    return [
        diagram(reliability(probabilities, labels, bins), when, f"{when.capitalize()} temperature scaling")
        for when, probabilities in (("before", uncalibrated(after, temperature)), ("after", after))
    ]


# --- sentences ---

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
    """Describe the gap between training and validation accuracy at the best epoch; empty without epochs."""
    best = found.metrics["training"]["best_epoch"]
    if found.solved or not 1 <= best <= len(found.history):
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


def usage(found: ReportContents) -> dict[str, str]:
    """Return commands and Python code that use the model."""
    folder = found.folder or f"runs/{found.name}"
    run = shlex.quote(folder)
    if found.metrics and found.metrics["weights"].get("name") == GIVEN:
        load = f"Classifier.load({folder!r}, backbone=network)  # the network passed to frostline.fit"
        commands = ""
    else:
        load = f"Classifier.load({folder!r})"
        commands = (
            f"# a label for each image\nfrostline predict {run} new-images/\n"
            f"# one ONNX file, preprocessing included\nfrostline export {run}\n"
            f"# a web page and an HTTP interface on this machine\nfrostline serve {run}"
        )
    code = (
        f"from frostline import Classifier\n\nclassifier = {load}\n"
        'print(classifier.predict(["photo.jpg"]))\n'
        'print(classifier.predict_proba(["photo.jpg"]))  # in the order of classifier.class_names'
    )
    return {"commands": commands, "python": code}


# --- figures ---


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


# --- images ---


def mosaic(filters: torch.Tensor) -> str:
    """Return filters (N, 3, H, W) as one image with transparent gaps, each scaled to its own range."""
    filters = filters[:MOST_FILTERS]
    count, _, height, width = filters.shape
    low, high = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    tiles = (255 * (filters - low) / (high - low).clamp_min(1e-12)).round().byte()  # (N, 3, H, W)
    across = min(FILTERS_PER_ROW, count)
    down = -(-count // across)
    sheet = torch.zeros(down * (height + 1) - 1, across * (width + 1) - 1, 4, dtype=torch.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + 1), number % across * (width + 1)
        sheet[top : top + height, left : left + width, :3] = tile.permute(1, 2, 0)
        sheet[top : top + height, left : left + width, 3] = 255
    return data_url(to_png(sheet.numpy(), optimize=True))
