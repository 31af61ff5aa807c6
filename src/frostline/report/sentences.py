"""What a run was, in plain sentences."""

from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from frostline.models.backbone import GIVEN
from frostline.models.boundary import NONE
from frostline.report.contents import ReportContents
from frostline.report.figures import figure, write

ORIGINS = {
    "bundled": "the weights that ship with Frostline, pre-trained on images that a program draws",
    "imagenet": "weights pre-trained on ImageNet",
    "pretrained": "the pre-trained weights that the network’s package publishes",
    "random": "random weights: nothing was pre-trained",
    GIVEN: "the weights that came with the network, which Python code gave",
}
HEADS = {
    "linear": "a linear head",
    "mlp": "a head with a hidden layer",
    "ridge": "a linear head (solved in closed form)",
}


def what_was_trained(found: ReportContents) -> Iterator[Markup]:
    """Say what was trained on what, where its weights came from, what was frozen, and what it cost."""
    metrics, model, images = found.metrics, found.metrics["model"], found.images
    data = Markup("<strong>{}</strong>").format(metrics["data"]["name"])
    if images:
        data += Markup(" ({:,} images to train on, {:,} to validate, {:,} to test)").format(
            images["train"], images["val"], images["test"]
        )
    yield Markup("<strong>{}</strong> with {} learned to tell the {} classes of {} from images of {} px.").format(
        model["name"], HEADS.get(model["head"], model["head"]), len(found.class_names), data,
        figure(metrics, "model", "image_size", form="d"),
    )  # fmt: skip
    if found.solved:
        yield from _solution(found)
    yield _boundary(metrics, model)
    origin = metrics["weights"]
    if origin:
        text = ORIGINS.get(origin["name"]) or f"weights from {origin['name']}"
        yield Markup('The network began with {} (SHA-256 <span title="{}">{}…</span>).').format(
            text, origin["sha256"], origin["sha256"][:12]
        )
    yield from _shared_images(metrics)
    if found.bad_images:
        yield Markup("Images that could not be read and were left out: {:,} (<code>bad_images.csv</code>).").format(
            found.bad_images
        )


def _shared_images(metrics: dict[str, Any]) -> Iterator[Markup]:
    """Say that the test split shares images with what was trained on: its results look better than they are."""
    for split, word in (("train", "training"), ("val", "validation")):
        shared = metrics["data"].get("overlap", {}).get(f"{split}_test") or {}
        same, alike = shared.get("identical", 0), shared.get("look_alike") or 0
        if same or alike:
            more = Markup(" and {:,} more look like one of these").format(alike) if alike else ""
            yield Markup(
                "<strong>{:,} test images are {} images, too</strong>{}: the results look better than they are."
            ).format(same, word, more)


def _solution(found: ReportContents) -> Iterator[Markup]:
    """Say what a head in closed form knew, what was chosen, and how much of it is known by heart."""
    metrics = found.metrics
    if metrics["model"]["prior"] == "drawn":
        yield Markup("Before any label the head knew how features vary within objects, from drawn images.")
    text = Markup("Validation chose the strength of its L2 penalty, {:.3g}.").format(metrics["training"]["l2"])
    if found.history:
        text += Markup(" It is right on {} of the training images and on {} of the validation images.").format(
            write(found.history[0].train_accuracy, "percent"), write(found.history[0].val_accuracy, "percent")
        )
    yield text


def _boundary(metrics: dict[str, Any], model: dict[str, Any]) -> Markup:
    trained = figure(metrics, "model", "trainable_parameters", form=",")
    every = figure(metrics, "model", "parameters", form=",")
    reads = f", and the head reads {', '.join(model['taps'])}" if model["taps"] else ""
    if model["freeze"] == NONE:
        return Markup("No stage was frozen{}: {} of {} parameters were trained.").format(reads, trained, every)
    return Markup("Everything up to <strong>{}</strong> was frozen{}: {} of {} parameters were trained.").format(
        model["freeze"], reads, trained, every
    )


def gap(found: ReportContents) -> str:
    """Name the distance between training and validation at the kept epoch, and what it means."""
    kept = found.metrics["training"]["best_epoch"]
    if not 1 <= kept <= len(found.history):
        return ""
    line = found.history[kept - 1]
    points = 100 * (line.train_accuracy - line.val_accuracy)
    if points >= 0:
        text = (
            f"Epoch {kept} is kept. There the network is right on {points:.1f} points more of the training images than "
            "of the validation images, which it has not learned from: this gap is what it knows by heart."
        )
    else:
        text = (
            f"Epoch {kept} is kept. There it is right on {-points:.1f} points more of the validation images than of "
            "the training images: these are counted while it learns, and as they are augmented."
        )
    if found.settings.get("label_smoothing"):
        text += (
            f" The loss in training includes label smoothing ({found.settings['label_smoothing']:g}), in validation "
            "not: the losses are on different scales."
        )
    return text
