"""A run's results in three sentences for readers who know no metrics: how good, compared with what, what would help.

The sentences are derived from ``metrics.json`` alone, so the end of a training and a later report say the same. The
accuracy is that of the test split; what would help is found on training and validation images (`held_out`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from frostline.data.check import IMBALANCE
from frostline.data.registry import SOURCES

Metrics = Mapping[str, Any]

FEW_IMAGES = 20  # training images of a class, on average, below which more of every class come first
SHARED_SHARE = 0.01  # of the test images
BLANK_SHARE = 0.01  # of all images
SUSPECTED_IMAGES, SUSPECTED_SHARE = 3, 0.02  # of the labels that were checked; fewer are usual without any error
ALIKE_SHARE = 0.2  # of the images of both classes
ALIKE_IMAGES = 4
WEAK_WEIGHTS = {"bundled": "was pre-trained on drawings only", "random": "was not pre-trained"}
SMALL_TEST = 1_000  # test images below which an accuracy has no meaningful decimals
NAMED = 3


def summarize(metrics: Metrics) -> list[str]:
    """Return three sentences: how good the model is, compared with what, and what would help most.

    Parameters
    ----------
    metrics : mapping
        As in ``metrics.json``. What earlier versions did not record is left out.
    """
    return [_how_good(metrics), _compared_with(metrics), _what_would_help(metrics)]


def _how_good(metrics: Metrics) -> str:
    test = metrics["test"]
    if test is None:
        val = metrics["val"]
        return (
            "How good the model is on new images was not measured, because there is no test split; on the "
            f"{val['images']:,} validation images, which chose its settings, it got {_accuracy(val)} right."
        )
    low, high = (_percent(share, test["images"]) for share in test["accuracy_ci95"])
    return (
        f"The model got {_accuracy(test)} of {test['images']:,} test images right, none of which it had seen before; "
        f"on new images like these, expect {low} to {high} (95 % interval)."
    )


def _compared_with(metrics: Metrics) -> str:
    shown = metrics["test"] or metrics["val"]
    per_class, images = shown["per_class"], shown["images"]
    counts = _training_images(metrics) or {name: c["support"] for name, c in per_class.items()}
    commonest = max(counts, key=lambda name: counts[name])
    guess, always = 1 / len(per_class), per_class[commonest]["support"] / images
    text = (
        f"Guessing among the {len(per_class)} classes would get {_percent(guess, images)} right, always answering "
        f"“{commonest}”, the commonest class, {_percent(always, images)}"
    )
    if shown["accuracy_ci95"][0] > max(guess, always):
        return f"{text}: the model is better than both."
    return f"{text}: these {images:,} images do not show that the model is better than that."


def _what_would_help(metrics: Metrics) -> str:
    return next(text for advice in ADVICE if (text := advice(metrics)))


# --- what would help most: the first that applies ---


def _shared_images(metrics: Metrics) -> str:
    overlap = metrics.get("data", {}).get("overlap", {})
    pairs = [overlap.get(f"{split}_test") or {} for split in ("train", "val")]
    shared = sum(pair.get("identical", 0) + (pair.get("look_alike") or 0) for pair in pairs)
    if not metrics["test"] or shared < max(1, SHARED_SHARE * metrics["test"]["images"]):
        return ""
    noun, verb = ("image", "is") if shared == 1 else ("images", "are")
    return (
        f"First move or remove the {shared:,} test {noun} that {verb} also, or almost, in training or validation: "
        "until then the accuracy is too optimistic."
    )


def _blank_images(metrics: Metrics) -> str:
    data = metrics.get("data", {})
    blank = data.get("blank_images", {"count": 0})
    if not blank["count"] or blank["count"] < BLANK_SHARE * sum(data["images"].values()):
        return ""
    named, noun = ", ".join(map(short_path, blank["examples"])), "image" if blank["count"] == 1 else "images"
    return f"Replace or remove the {blank['count']:,} {noun} of a single color, such as {named}: they show nothing."


def _untested_classes(metrics: Metrics) -> str:
    counts = _training_images(metrics)
    test = metrics["test"]
    untested = [name for name in counts if test and not test["per_class"][name]["support"]]
    if not untested:
        return ""
    named = _first([f"“{name}” ({counts[name]:,})" for name in untested])
    return (
        f"Add images of {named}: {'it has' if len(untested) == 1 else 'they have'} too few to be tested, so the "
        "accuracy says nothing about them."
    )


def _ceiling(metrics: Metrics) -> str:
    test = metrics["test"]
    if not test or test["accuracy"] < 1:
        return ""
    return (
        f"These {test['images']:,} test images can show no further progress: test the model on new images, taken on "
        "another day or in another place."
    )


def _suspected_labels(metrics: Metrics) -> str:
    held_out = metrics.get("held_out") or {}
    found = held_out.get("suspected", [])
    if len(found) < max(SUSPECTED_IMAGES, SUSPECTED_SHARE * held_out.get("images", 0)):
        return ""
    shown = [f"{short_path(one['image'])} ({one['label']}, or {one['predicted']}?)" for one in found]
    return f"Look at these {len(found):,} labels, which may be wrong: {_first(shown)}."


def _weak_network(metrics: Metrics) -> str:
    model, weights = metrics["model"], metrics["weights"].get("name")
    if weights not in WEAK_WEIGHTS or model.get("compared", True) or metrics["data"]["name"] in SOURCES:
        return ""
    return (
        f"Train again with --model auto: this network ({model['name']}) {WEAK_WEIGHTS[weights]}, and --model auto "
        "compares it with networks that know photographs."
    )


def _few_images(metrics: Metrics) -> str:
    counts = _training_images(metrics)
    if not counts or sum(counts.values()) >= FEW_IMAGES * len(counts):
        return ""
    smallest = min(counts, key=lambda name: counts[name])
    return (
        f"Add images of every class: {sum(counts.values()) / len(counts):.0f} for each is what the model has learned "
        f"from, {counts[smallest]:,} of “{smallest}”."
    )


def _imbalance(metrics: Metrics) -> str:
    counts = _training_images(metrics)
    if not counts:
        return ""
    least, most = (choose(counts, key=lambda name: counts[name]) for choose in (min, max))
    if counts[most] <= IMBALANCE * counts[least]:
        return ""
    meanwhile = "; until then, --class-weights balanced weighs all classes alike"
    balanced = metrics["model"].get("class_weights") == "balanced"
    return (
        f"Add images of “{least}”: it has {counts[least]:,} for training, and “{most}” has {counts[most]:,}"
        f"{'' if balanced else meanwhile}."
    )


def _alike_classes(metrics: Metrics) -> str:
    held_out = metrics.get("held_out") or {}
    if not held_out.get("confused"):
        return ""
    first, second, images = held_out["confused"][0]
    both = sum(held_out["per_class"][name]["images"] for name in (first, second))
    mistakes = held_out["images"] - held_out["correct"]
    if images < max(ALIKE_IMAGES, ALIKE_SHARE * both) or 2 * images < mistakes:
        return ""
    return (
        f"“{first}” and “{second}” look alike to the model: {images:,} of its {mistakes:,} mistakes on held-out images "
        "confuse the two. Add images that show the difference, or make them one class."
    )


def _weakest_class(metrics: Metrics) -> str:
    held_out = metrics.get("held_out") or {}
    classes = {name: one for name, one in held_out.get("per_class", {}).items() if one["images"]}
    if not classes:
        return "More images of the classes with the lowest recall would help most."
    name = min(classes, key=lambda name: (classes[name]["correct"] / classes[name]["images"], classes[name]["images"]))
    images, correct = classes[name]["images"], classes[name]["correct"]
    if correct == images:
        return "Nothing stands out: more images of every class, as varied as possible, would help most."
    return (
        f"More images of “{name}” would help most: of {images:,} that were held out in training, {correct:,} "
        f"{'was' if correct == 1 else 'were'} recognized, the smallest share of all classes."
    )


ADVICE: tuple[Callable[[Metrics], str], ...] = (
    _shared_images, _blank_images, _untested_classes, _ceiling, _suspected_labels, _weak_network, _few_images,
    _imbalance, _alike_classes, _weakest_class,
)  # fmt: skip


# --- text ---


def _accuracy(results: Metrics) -> str:
    return _percent(results["accuracy"], results["images"])


def _percent(share: float, images: int) -> str:
    """Return a share as percent; with a decimal where so many images make it meaningful."""
    return f"{100 * share:.{0 if images < SMALL_TEST else 1}f} %"


def _first(texts: list[str]) -> str:
    """Join the first texts, and say how many more there are."""
    more = f" and {len(texts) - NAMED:,} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def short_path(path: str) -> str:
    """Return the last two parts of a path: the class folder and the file."""
    return "/".join(path.replace("\\", "/").split("/")[-2:])


def _training_images(metrics: Metrics) -> dict[str, int]:
    """Return how many training images each class has; empty for runs of earlier versions."""
    found: dict[str, int] = metrics.get("data", {}).get("class_images", {}).get("train", {})
    return found
