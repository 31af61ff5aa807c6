"""Paired tests, against scipy, brute force and published definitions."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from frostline.evaluation.comparison import (
    bootstrap_interval,
    class_changes,
    compare_pairs,
    holm,
    mcnemar,
)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (2, 21), (15, 34), (7, 7), (900, 1100)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    assert mcnemar(first, second) == pytest.approx(binomtest(first, first + second).pvalue)


def test_mcnemar_counts_every_way_that_is_as_uneven() -> None:
    uneven = sum(abs(2 * sum(coins) - 7) >= 5 for coins in product((0, 1), repeat=7))
    assert mcnemar(1, 6) == pytest.approx(uneven / 2**7)
    assert mcnemar(0, 0) == 1


def test_interval_is_that_of_images_drawn_again_one_by_one() -> None:
    change = np.array([1] * 30 + [-1] * 10 + [0] * 160)
    draws = np.random.default_rng(5).choice(change, (20_000, 200)).mean(1)
    expected = np.quantile(draws, [0.025, 0.975])
    assert bootstrap_interval(200, 10, 30, draws=50_000) == pytest.approx(expected, abs=0.0051)  # one image
    assert bootstrap_interval(200, 10, 30) == bootstrap_interval(200, 10, 30)


def test_without_disagreement_the_interval_is_the_exact_binomial_bound() -> None:
    low, high = bootstrap_interval(100, 0, 0)
    assert high == -low == pytest.approx(binomtest(0, 100).proportion_ci(0.95).high)


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_interval_coverage_is_close_to_nominal() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for kinds in rng.multinomial(500, [0.05, 0.09, 0.86], size=200):
        low, high = bootstrap_interval(500, int(kinds[0]), int(kinds[1]), draws=1000)
        held += low <= 0.04 <= high
    assert 180 <= held <= 200


def test_pairs_are_corrected_together() -> None:
    rng = np.random.default_rng(1)
    poor, good, same = rng.random(400) < 0.6, rng.random(400) < 0.9, rng.random(400) < 0.9
    alone = compare_pairs([(poor, good)])[0]
    together = compare_pairs([(poor, good), (poor, same), (good, same)])
    assert alone.significant
    assert alone.difference == pytest.approx(good.mean() - poor.mean())
    assert together[0].p_adjusted > alone.p_adjusted == alone.p_value
    assert (together[0].low, together[0].high) == (alone.low, alone.high)
    assert not together[2].significant


def test_gains_and_losses_of_classes_are_counted() -> None:
    labels = np.array([0, 0, 0, 1, 1, 3])
    first = np.array([True, True, False, False, False, True])
    second = np.array([False, False, True, True, True, True])
    found = class_changes(first, second, labels, ["a", "b", "none", "c"])
    assert [(c.name, c.images, c.gained, c.lost, c.net) for c in found] == [
        ("a", 3, 1, 2, -1),
        ("c", 1, 0, 0, 0),
        ("b", 2, 2, 0, 2),
    ]
    assert all(change.p_adjusted == 1 for change in found)
