"""Results on the terminal: all classes, or the worst of many."""

from typing import Any

import numpy as np
import pytest

from frostline.cli.console import Screen
from frostline.cli.results import show_results
from frostline.evaluation.metrics import evaluate


def results(classes: int, images: int = 4000) -> dict[str, Any]:
    """Results of a classifier that is correct on half of the images, and on none of class 7."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, classes, images)
    answers = np.where((draw.random(images) < 0.5) & (labels != 7), labels, (labels + 1) % classes)
    probabilities = np.full((images, classes), 0.1 / classes, np.float32)
    probabilities[np.arange(images), answers] += 0.9
    return {"test": evaluate(probabilities, labels, [f"class {number}" for number in range(classes)])}


def lines(capsys: pytest.CaptureFixture[str], found: dict[str, Any]) -> list[str]:
    show_results(Screen(), found, "test split")
    return capsys.readouterr().out.splitlines()


def test_few_classes_are_all_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines(capsys, results(30))
    assert sum(line.startswith("class ") and "precision" not in line for line in shown) >= 30
    assert not any("mean of" in line for line in shown)


def test_of_many_classes_the_worst_twenty_and_the_mean_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = results(1200)
    shown = lines(capsys, found)
    assert len(shown) < 50
    begin = next(i for i, line in enumerate(shown) if line.startswith("the 20 classes with the lowest F1"))
    rows = shown[begin + 2 : begin + 23]
    scores = [float(row.split()[-2]) for row in rows[:20]]
    assert scores == sorted(scores)
    tested = [line for line in found["test"]["per_class"].values() if line["support"]]
    assert scores[-1] <= sorted(line["f1"] for line in tested)[19] + 1e-4
    mean = rows[20].split()
    assert rows[20].startswith(f"mean of {len(tested):,} classes")
    assert float(mean[-2]) == pytest.approx(found["test"]["f1_macro"], abs=1e-4)
    assert mean[-1] == "4,000"
