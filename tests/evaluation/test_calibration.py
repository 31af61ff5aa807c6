"""Reliability and the effect of a temperature, in cases computed by hand."""

import numpy as np
import pytest

from frostline.evaluation.calibration import BINS, before_and_after, mean_loss, reliability, uncalibrated


def test_calibration_error_of_a_constructed_case():
    # Four answers at 0.9 of which half are right, six at 0.6 of which all are: (4 * 0.4 + 6 * 0.4) / 10.
    confidence = np.array([0.9] * 4 + [0.6] * 6)
    probabilities = np.stack([confidence, 1 - confidence], 1)
    labels = np.array([0, 0, 1, 1] + [0] * 6)
    assert reliability(probabilities, labels).ece == pytest.approx(0.4)


def test_calibration_error_is_weighted_by_the_images_of_a_bin():
    # One answer at certainty, wrong; three at 0.75 of which two are right: 1/4 * 1 + 3/4 * (0.75 - 2/3).
    probabilities = np.array([[1.0, 0.0], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]])
    labels = np.array([1, 0, 0, 1])
    assert reliability(probabilities, labels).ece == pytest.approx(0.25 + 0.75 * (0.75 - 2 / 3))


def test_honest_confidence_has_no_calibration_error():
    probabilities = np.tile([0.8, 0.2], (10, 1))
    assert reliability(probabilities, np.array([0] * 8 + [1] * 2)).ece == pytest.approx(0, abs=1e-12)


def test_every_prediction_is_in_one_bin():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.51, 0.49]])
    found = reliability(probabilities, np.array([0, 1, 0]))
    assert found.images.sum() == 3
    assert (found.images[BINS - 1], found.accuracy[BINS - 1]) == (1, 1.0)
    assert found.images[:7].sum() == 0


@pytest.mark.parametrize("temperature", [0.2, 1.0, 3.0])
def test_the_probabilities_before_a_temperature_come_back_exactly(temperature):
    logits = np.random.default_rng(0).normal(scale=4, size=(200, 7))
    softmax = lambda x: np.exp(x - x.max(1, keepdims=True)) / np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)  # noqa: E731
    before = uncalibrated(softmax(logits / temperature), temperature)
    assert np.allclose(before, softmax(logits), rtol=1e-9, atol=1e-12)


def test_effect_of_a_temperature_is_reported():
    probabilities, labels = np.array([[0.8, 0.2], [0.6, 0.4]]), np.array([0, 1])
    facts = before_and_after(2.0, {"val": (probabilities, labels)})
    odds = np.array([4.0, 1.5]) ** 2  # logits twice as large
    assert facts["temperature"] == 2.0
    assert facts["val"]["loss"]["after"] == pytest.approx(mean_loss(probabilities, labels))
    assert facts["val"]["loss"]["before"] == pytest.approx(np.mean([np.log(1 + 1 / odds[0]), np.log(1 + odds[1])]))
    sure = odds / (1 + odds)
    assert facts["val"]["ece"]["before"] == pytest.approx(((1 - sure[0]) + sure[1]) / 2)
