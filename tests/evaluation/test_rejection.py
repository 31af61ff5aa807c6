"""Rejection thresholds, and the share of the validation split that they reject."""

import numpy as np
import pytest

from frostline.errors import ConfigError
from frostline.evaluation.rejection import LEVELS, Rejection, calibrate_rejection, rejected


def answers(confidence: list[float]) -> np.ndarray:
    """Probabilities of two classes with these confidences."""
    best = np.asarray(confidence)
    return np.stack([best, 1 - best], axis=1)


def test_thresholds_are_the_order_statistics() -> None:
    found = calibrate_rejection(answers([0.9, 0.6, 0.8, 0.7, 0.55, 0.95, 0.65, 0.75, 0.85, 0.99]))
    assert found.images == 10
    assert found.threshold(0) == 0.55
    assert found.threshold(0.05) == 0.55  # a twentieth of ten images is none
    assert found.threshold(0.1) == 0.6
    assert found.threshold(0.2) == 0.65
    assert found.threshold(0.5) == 0.8


@pytest.mark.parametrize("count", [1, 3, 20, 199, 1000])
@pytest.mark.parametrize("share", [0, 0.01, 0.05, 0.1, 0.2, 0.5])
def test_at_most_that_share_of_validation_is_lost_and_no_larger_threshold_would_do(count: int, share: float) -> None:
    probabilities = np.random.default_rng(count).dirichlet(np.ones(4), count)
    threshold = calibrate_rejection(probabilities).threshold(share)
    lost = rejected(probabilities, threshold).mean()
    assert lost <= share + 1e-12
    higher = rejected(probabilities, np.nextafter(threshold, 2)).mean()
    assert higher > share - 0.005  # but for the steps of the table, one more image would be too many


def test_equal_confidences_are_never_lost_together() -> None:
    found = calibrate_rejection(answers([0.8] * 100))
    assert found.threshold(0.5) == 0.8
    assert not rejected(answers([0.8] * 100), found.threshold(0.5)).any()
    assert rejected(answers([0.79]), found.threshold(0)).all()


def test_shares_between_steps_reject_no_more_than_requested() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), 5000)
    assert rejected(probabilities, calibrate_rejection(probabilities).threshold(0.0539)).mean() <= 0.0539


@pytest.mark.parametrize("share", [-0.1, 0.51, 1, float("nan")])
def test_impossible_shares_are_rejected(share: float) -> None:
    with pytest.raises(ConfigError, match=r"--reject .*: expected the proportion of validation images"):
        calibrate_rejection(answers([0.8])).threshold(share)


def test_thresholds_survive_json_and_damage_is_detected() -> None:
    found = calibrate_rejection(answers([0.9, 0.6, 0.8]))
    assert Rejection.from_dict(found.to_dict()) == found
    for thresholds in ([0.5] * 3, [0.5] * (LEVELS - 1) + [1.5], [0.9] + [0.5] * (LEVELS - 1), [float("nan")] * LEVELS):
        with pytest.raises(ValueError, match="confidence thresholds"):
            Rejection.from_dict({"images": 3, "thresholds": thresholds})
    with pytest.raises(ValueError, match="confidence thresholds"):
        Rejection(0, found.thresholds)
