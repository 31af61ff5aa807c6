"""Every metric against scikit-learn or a case computed by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from frostline.evaluation.metrics import (
    evaluate,
    logit_interval,
    most_confused,
    wilson_interval,
)

NAMES = [f"class {number}" for number in range(8)]


@pytest.fixture
def predictions():
    """500 mostly correct predictions of eight classes."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 8, 500)
    logits = rng.normal(size=(500, 8)) + 1.5 * np.eye(8)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, labels


def test_it_agrees_with_scikit_learn(predictions):
    probabilities, labels = predictions
    predicted = probabilities.argmax(1)
    found = evaluate(probabilities, labels, NAMES)
    assert found["images"] == 500
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["loss"] == pytest.approx(sk.log_loss(labels, probabilities))
    assert found["top5_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert found["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    report = sk.classification_report(labels, predicted, target_names=NAMES, output_dict=True)
    for name in NAMES:
        expected = {**report[name], "f1": report[name]["f1-score"]}
        assert found["per_class"][name] == pytest.approx({key: expected[key] for key in found["per_class"][name]})


def test_order_of_the_classes_is_preserved(predictions):
    names = list(reversed("abcdefgh"))
    assert list(evaluate(*predictions, names)["per_class"]) == names


def test_the_result_is_plain_json(predictions):
    import json

    found = evaluate(*predictions, NAMES)
    assert json.loads(json.dumps(found)) == found


def test_a_case_by_hand():
    probabilities = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
    labels = np.array([0, 1, 1, 2])
    found = evaluate(probabilities, labels, ["a", "b", "c"])
    assert found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx(-np.log([0.7, 0.3, 0.8, 0.4]).mean())
    assert found["top5_accuracy"] == 1.0
    assert found["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert found["per_class"]["a"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1}
    assert found["per_class"]["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}
    assert found["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_rows_of_the_confusion_are_the_truth():
    always_first = np.tile([0.9, 0.1], (3, 1))
    assert evaluate(always_first, np.array([1, 1, 1]), ["a", "b"])["confusion"] == [[0, 0], [3, 0]]


@pytest.mark.parametrize(("right", "total"), [(70, 100), (9231, 10_000), (1, 7), (0, 20), (20, 20)])
def test_the_interval_is_wilsons(right, total):
    z = 1.959963984540054
    share = right / total
    center = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    low, high = wilson_interval(right, total)
    assert (low, high) == pytest.approx((max(center - half, 0), min(center + half, 1)), abs=1e-12)
    assert low <= share <= high


@pytest.mark.parametrize(
    ("mean", "half_width", "expected"),
    [
        (0.5, 0.1, (0.401312, 0.598688)),  # 1 / (1 + exp(±0.1 / 0.25))
        (0.99, 0.05, (0.388081, 0.999935)),  # the plain interval ends at 1.04
        (0.01, 0.05, (0.000065, 0.611919)),
        (0.7, 0.0, (0.7, 0.7)),
        (1.0, 0.0, (1.0, 1.0)),
        (0.0, 0.0, (0.0, 0.0)),
    ],
)
def test_an_interval_on_the_logit_scale_stays_between_0_and_1(mean, half_width, expected):
    assert logit_interval(mean, half_width) == pytest.approx(expected, abs=1e-6)


def test_without_spread_there_is_no_interval():
    assert np.isnan(logit_interval(1.0, np.nan)).all()


def test_the_interval_belongs_to_the_accuracy(predictions):
    found = evaluate(*predictions, NAMES)
    assert found["accuracy_ci95"] == wilson_interval(round(found["accuracy"] * 500), 500)


def test_top_k_counts_the_k_most_probable():
    probabilities = np.tile([0.3, 0.25, 0.2, 0.12, 0.08, 0.05], (4, 1))
    names = list("abcdef")
    assert evaluate(probabilities, np.array([5, 5, 5, 5]), names)["top5_accuracy"] == 0.0
    assert evaluate(probabilities, np.array([4, 5, 4, 0]), names)["top5_accuracy"] == 0.75
    assert evaluate(probabilities[:, :5], np.array([4, 3, 2, 1]), names[:5])["top5_accuracy"] == 1.0


def test_a_class_without_images_counts_nowhere(predictions):
    probabilities, labels = predictions
    some = labels != 3
    found = evaluate(probabilities[some], labels[some], NAMES)
    line = found["per_class"]["class 3"]
    assert (line["recall"], line["f1"], line["support"]) == (0.0, 0.0, 0)
    assert found["confusion"][3] == [0] * 8
    others = [found["per_class"][name]["f1"] for name in NAMES if name != "class 3"]
    assert found["f1_macro"] == pytest.approx(np.mean(others))


def test_a_class_that_is_never_predicted_has_no_precision():
    found = evaluate(np.tile([0.9, 0.1], (4, 1)), np.array([0, 0, 1, 1]), ["a", "b"])
    assert found["per_class"]["b"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2}


def test_a_certain_mistake_has_a_finite_loss():
    found = evaluate(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"])
    assert found["loss"] == pytest.approx(-np.log(1e-12))


def test_most_confused_names_the_worst_pairs_first():
    confusion = [[5, 2, 0], [7, 1, 1], [0, 3, 9]]
    pairs = most_confused(confusion, ["a", "b", "c"], count=3)
    assert pairs == [("b", "a", 7), ("c", "b", 3), ("a", "b", 2)]


def test_most_confused_is_empty_when_all_is_right():
    assert most_confused([[3, 0], [0, 4]], ["a", "b"]) == []
