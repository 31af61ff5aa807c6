"""The model card: the hub's own library reads it, and every figure is one of ``metrics.json``."""

import re
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from frostline.models.backbone import GIVEN, WeightsOrigin
from frostline.runs.bundle import load_bundle
from frostline.runs.model_card import card_text, weights_license


@pytest.fixture(scope="module")
def card(finished):
    return ModelCard.load(finished.model_folder / "MODEL_CARD.md")


@pytest.fixture(scope="module")
def model(finished):
    return load_bundle(finished.model_folder)


def began_with(model, name):
    """The model, as if its weights had been others."""
    backbone = model.backbone.upto(model.boundary.end)
    backbone.origin = WeightsOrigin(name, "0" * 64, "for a test")
    return replace(model, backbone=backbone)


def test_the_hubs_library_reads_and_validates_it(card, finished):
    test = finished.metrics["test"]
    about = card.data
    assert (about.library_name, about.pipeline_tag, about.license) == ("frostline", "image-classification", "unknown")
    assert about.model_name == "first"
    results = {result.metric_type: result for result in about.eval_results}
    assert {kind: result.metric_value for kind, result in results.items()} == {
        "accuracy": test["accuracy"],
        "f1": test["f1_macro"],
        "loss": test["loss"],
    }
    assert {(result.dataset_name, result.dataset_split) for result in results.values()} == {("fashion-mnist", "test")}


def numbers(value):
    """Every number in JSON values, as a card writes them."""
    if isinstance(value, dict):
        return set().union(*map(numbers, value.values()), *map(numbers, value))
    if isinstance(value, list):
        return set().union(*map(numbers, value))
    if isinstance(value, int | float):
        return {f"{value:.4f}"} if isinstance(value, float) else {f"{value:,}"}
    return set()


def test_every_figure_is_one_of_the_metrics(card, finished):
    metrics = finished.metrics
    text = re.sub(r"`[^`]*`|95 % interval|SHA-256|^#.*|conv\d", "", card.text, flags=re.MULTILINE)
    text = text.split("## Usage")[0].replace("top-5", "").replace("Apache-2.0", "").replace("BSD 3", "")
    text = re.sub(r"\bF1\b", "", text)
    figures = set(re.findall(r"\d[\d.,]*\d|\d", text))
    assert len(figures) > 30
    assert figures - numbers(metrics) == {str(len(metrics["test"]["per_class"]))}
    low, high = metrics["test"]["accuracy_ci95"]
    assert f"| {metrics['test']['accuracy']:.4f} ({low:.4f} to {high:.4f}) |" in card.text
    for name, about in metrics["test"]["per_class"].items():
        assert (
            f"| {name} | {about['precision']:.4f} | {about['recall']:.4f} | {about['f1']:.4f} | {about['support']:,} |"
            in card.text
        )
    assert f"{metrics['data']['images']['train']:,} training, " in card.text
    assert metrics["weights"]["sha256"] in card.text


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("random", "contains no pre-trained weights"),
        ("bundled", "under Apache-2.0"),
        ("imagenet", "no license of their own is stated"),
        ("pretrained", "Their license is not known here"),
        ("/home/somebody/secret/mine.pth", "mine.pth. Its origin and license are not known"),
        (GIVEN, "The origin of its weights and their license are not known"),
    ],
)
def test_it_says_what_is_known_of_the_weights_and_what_is_not(model, finished, name, known):
    other = began_with(model, name)
    assert known in weights_license(other)
    assert "secret" not in weights_license(other)
    text = card_text(other, finished.metrics | {"weights": {"name": name, "sha256": "0" * 64}}, "first")
    assert known in text
    assert ModelCard(text).data.license == ("apache-2.0" if name == "bundled" else "unknown")


@pytest.mark.parametrize(
    ("fit", "input"), [("pad", "the shorter side is padded"), ("crop", "the center square"), ("squash", "both sides")]
)
def test_it_says_how_an_image_becomes_square(model, finished, fit, input):
    text = card_text(replace(model, preprocess=replace(model.preprocess, fit=fit)), finished.metrics, "first")
    assert f"gray or RGB; {input}" in text
    assert ("Only the center square of an image is used." in text) == (fit == "crop")


def test_odd_class_names_break_no_table(model, finished):
    metrics = finished.metrics
    classes = metrics["test"]["per_class"]
    renamed = {("a|b" if name == "Bag" else name): about for name, about in classes.items()}
    odd = replace(model, class_names=tuple(renamed))
    text = card_text(odd, metrics | {"test": metrics["test"] | {"per_class": renamed}}, "first")
    assert "| a\\|b | " in text


def test_names_are_text_and_neither_html_nor_marks_nor_control_characters(model, finished):
    name = "<script>alert(1)</script> [x](http://y) \x1b[2J\u202e"
    metrics = finished.metrics
    classes = metrics["test"]["per_class"]
    renamed = {(name if one == "Bag" else one): about for one, about in classes.items()}
    odd = replace(model, class_names=tuple(renamed))
    facts = {"test": metrics["test"] | {"per_class": renamed}, "data": metrics["data"] | {"name": name}}
    text = card_text(odd, metrics | facts, name)
    body = text.split("---\n")[2]
    assert "<script>" not in body and "[x](" not in body
    assert not {"\x1b", "\u202e"} & set(text)
    assert ModelCard(text).data.eval_results[0].dataset_name == name
