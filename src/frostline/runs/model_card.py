"""The model card of a bundle, ``MODEL_CARD.md``, in the format of the Hugging Face hub.

YAML between two ``---`` (its values are JSON, which is also YAML), then Markdown. All figures are from
``metrics.json``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline._utils.text import markdown_text, printable
from frostline.evaluation.metrics import most_confused
from frostline.models.backbone import GIVEN
from frostline.models.registry import find_network
from frostline.runs.bundle import Model

CARD = "MODEL_CARD.md"
SPLITS = {"val": "validation", "test": "test"}
FIGURES = {
    "accuracy": "accuracy", "top5_accuracy": "top-5 accuracy", "f1_macro": "F1, mean over classes",
    "loss": "cross-entropy", "ece": "expected calibration error",
}  # fmt: skip
HUB_METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "f1_macro": ("f1", "F1 (macro)"),
    "loss": ("loss", "Cross-entropy"),
}
SQUARES = {
    "pad": "the shorter side is padded with the mean of the border, and the square is resized",
    "crop": "the center square is resized",
    "squash": "both sides are resized",
}
APACHE, UNKNOWN = "apache-2.0", "unknown"
MISTAKES = 3
DATA_LICENSES = {
    "fashion-mnist": "Zalando publishes Fashion-MNIST under the MIT license.",
    "drawn-objects": "They are drawn by Frostline's own program (Apache-2.0).",
}
PRIOR = (
    "The head uses a covariance prior, how features vary within objects, estimated from images drawn by Frostline's "
    "own program (Apache-2.0)."
)
PRETRAINED = (
    "Pre-trained weights that the network's package ({package}) provides. Their license is not known here: see the "
    "page of these weights. The terms of the data that they were trained on may apply, too."
)
BUNDLED = (
    "Frostline's bundled weights, under Apache-2.0, trained on drawn images only: no photographs and no other data "
    "sets."
)
RANDOM = "Random numbers: this model contains no pre-trained weights."
FROM_PYTHON = "A network passed from Python code. The origin of its weights and their license are not known."
OWN_FILE = "The user's file {file}. Its origin and license are not known."


def write_card(model: Model, metrics: Mapping[str, Any], folder: Path) -> None:
    """Write a model's card into its bundle; ``metrics`` are those of the run, as in ``metrics.json``."""
    text = card_text(model, metrics, folder.parent.name)
    write_bytes(folder / CARD, text.encode(errors="backslashreplace"), OTHER_OUTPUT_DIR)


def card_text(model: Model, metrics: Mapping[str, Any], run: str) -> str:
    """Return the card of a run's model."""
    lines = ["---", *_front_matter(model, metrics, run), "---", "", f"# {markdown_text(run)}", ""]
    parts = (_summary(model, metrics), _data(model, metrics), _results(metrics), _weights(model, metrics))
    for part in (*parts, _limits(model, metrics), _use(model)):
        lines += [*part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _front_matter(model: Model, metrics: Mapping[str, Any], run: str) -> list[str]:
    """Return the YAML lines, with the hub's names; values as JSON (``huggingface_hub`` may not be installed)."""
    data = metrics["data"]["name"]
    split = "test" if metrics["test"] else "validation"
    test = metrics["test"] or metrics["val"]
    results = [{"type": kind, "name": name, "value": test[figure]} for figure, (kind, name) in HUB_METRICS.items()]
    dataset = {"name": data, "type": data, "split": split}
    task = {"type": "image-classification", "name": "Image classification"}
    values = {
        "license": APACHE if metrics["weights"].get("name") == "bundled" else UNKNOWN,
        "library_name": "frostline",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", model.backbone.name],
        "metrics": [kind for kind, _ in HUB_METRICS.values()],
        "model-index": [{"name": run, "results": [{"task": task, "dataset": dataset, "metrics": results}]}],
    }
    # `printable` escapes control characters as YAML's quoted strings do.
    return [f"{name}: {printable(json.dumps(value, ensure_ascii=False))}" for name, value in values.items()]


def _summary(model: Model, metrics: Mapping[str, Any]) -> list[str]:
    facts = metrics["model"]
    frozen = "no stage frozen" if facts["freeze"] == "none" else f"frozen up to `{facts['freeze']}`"
    reads = ", ".join(f"`{tap}`" for tap in model.boundary.taps) or f"`{model.boundary.end}`"
    return [
        f"Classifies images into {len(model.class_names)} classes. {markdown_text(facts['name'])}, {frozen}, with a "
        f"{facts['head']} head that reads {reads}; {facts['parameters']:,} parameters, "
        f"{facts['trainable_parameters']:,} of them trained.",
        "",
        f"Input: images of any size, gray or RGB; {SQUARES[model.preprocess.fit]} to {facts['image_size']} "
        "pixels. Output: a probability for each class.",
    ]


def _data(model: Model, metrics: Mapping[str, Any]) -> list[str]:
    data, counts = metrics["data"], metrics["data"]["images"]
    license = DATA_LICENSES.get(data["name"], "The license of these images is not known here.")
    return [
        "## Data and labels",
        "",
        f"{markdown_text(data['name'])}: {counts['train']:,} training, {counts['val']:,} validation and "
        f"{counts['test']:,} test images. {license} Fingerprints of content, order and labels: "
        + ", ".join(f"{part} `{digest}`" for part, digest in data["fingerprint"].items())
        + ".",
        *([PRIOR] if metrics["model"]["prior"] == "drawn" else []),
        "",
        f"Classes, one per image: {', '.join(map(markdown_text, model.class_names))}.",
    ]


def _results(metrics: Mapping[str, Any]) -> list[str]:
    rows = []
    splits = {split: word for split, word in SPLITS.items() if metrics[split]}
    shown = "test" if "test" in splits else "val"
    for figure, name in FIGURES.items():
        cells = [f"{metrics[split][figure]:.4f}" for split in splits]
        if figure == "accuracy":
            cells = [f"{c} ({_interval(metrics[split])})" for c, split in zip(cells, splits, strict=True)]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    classes = [
        f"| {markdown_text(name)} | {about['precision']:.4f} | {about['recall']:.4f} | {about['f1']:.4f} "
        f"| {about['support']:,} |"
        for name, about in metrics[shown]["per_class"].items()
    ]
    return [
        "## Results",
        "",
        ("The test split was read once, at the end." if shown == "test" else "There was no test split.")
        + " Epoch and temperature were selected on the validation split, so its figures are optimistic. "
        "95 % intervals (Wilson) are in brackets.",
        "",
        f"| | {' | '.join(splits.values())} |",
        "|---" * (1 + len(splits)) + "|",
        *rows,
        "",
        f"| class ({splits[shown]}) | precision | recall | F1 | images |",
        "|---|---|---|---|---|",
        *classes,
    ]


def _weights(model: Model, metrics: Mapping[str, Any]) -> list[str]:
    weights = metrics["weights"]
    digest = f" SHA-256 `{weights['sha256']}`." if weights else ""
    return ["## Origin and license of the weights", "", weights_license(model) + digest]


def weights_license(model: Model) -> str:
    """Describe the origin and license of a model's initial weights."""
    origin = model.backbone.origin
    name = origin.name if origin else GIVEN
    known = {"bundled": BUNDLED, "random": RANDOM, GIVEN: FROM_PYTHON}
    if name == "pretrained":
        return PRETRAINED.format(package=markdown_text(model.backbone.name.partition(":")[0]))
    if name == "imagenet":
        return find_network(model.backbone.name).offer.license
    return known.get(name) or OWN_FILE.format(file=markdown_text(Path(name).name))


def _limits(model: Model, metrics: Mapping[str, Any]) -> list[str]:
    test, word = (metrics["test"], "test") if metrics["test"] else (metrics["val"], "validation")
    mistakes = [
        f"- {markdown_text(truth)} predicted as {markdown_text(other)}: {count:,} of "
        f"{test['per_class'][truth]['support']:,}."
        for truth, other, count in most_confused(test["confusion"], list(test["per_class"]), MISTAKES)
    ]
    return [
        "## Limits",
        "",
        "- It has no other classes: an image of anything else is assigned to one of these, perhaps with high "
        "probability.",
        "- Figures and probabilities hold for images like those of the data set; for others they are unknown.",
        *(["- Only the center square of an image is used."] if model.preprocess.fit == "crop" else []),
        "- Groups of people, attacks and damaged images were not evaluated.",
        *(["", f"Most frequent mistakes on the {word} split:", "", *mistakes] if mistakes else []),
    ]


def _use(model: Model) -> list[str]:
    load = "Classifier.load(folder)"
    if model.backbone.origin is not None and model.backbone.origin.name == GIVEN:
        load = "Classifier.load(folder, backbone=network)  # the network passed to frostline.fit"
    return [
        "## Usage",
        "",
        "```python",
        "from frostline import Classifier",
        "",
        f"classifier = {load}",
        'print(classifier.predict(["image.jpg"]))',
        "```",
        "",
        "`folder` is the folder of this card. `frostline export RUN` writes the model, including preprocessing, as one "
        "ONNX file.",
    ]


def _interval(results: Mapping[str, Any]) -> str:
    low, high = results["accuracy_ci95"]
    return f"{low:.4f} to {high:.4f}"
