"""The estimate of how many listed labels are right, on labels whose errors are known."""

import numpy as np
import pytest

from frostline.studies.audit.label_noise import choose, expectation, fit_noise, skill
from tests.studies.audit.pages import drawn


def listed(p, labels, fdr):
    noise = fit_noise(p, labels)
    p_right = noise.p_right(p, labels)
    return choose(p_right, p.argmax(1) != labels, fdr), p_right, noise


@pytest.mark.parametrize("classes", [2, 10, 60])
@pytest.mark.parametrize("share", [0.03, 0.15])
def test_about_as_many_labels_are_right_as_expected(classes, share):
    p, labels, wrong = drawn(6000, classes, share)
    chosen, p_right, noise = listed(p, labels, 0.2)
    really, expected = (~wrong[chosen]).sum(), p_right[chosen].sum()
    assert chosen.sum() > 0.3 * wrong.sum()
    assert really <= 1.2 * expected + 5
    assert noise.low <= 1.15 * wrong.mean()  # a step of the grid
    assert wrong.mean() <= 1.5 * noise.share


def test_probabilities_that_are_too_flat_or_too_sharp_give_the_same_list():
    p, labels, _ = drawn(4000, 10, 0.1)
    flat = p**0.5 / (p**0.5).sum(1, keepdims=True)
    first, second = (listed(one, labels, 0.2)[0] for one in (p, flat))
    assert (first & second).sum() > 0.9 * max(first.sum(), second.sum()) > 100


@pytest.mark.parametrize("count", [50, 500, 5000])
def test_nothing_is_listed_where_every_label_is_right(count):
    p, labels, _ = drawn(count, 10, 0)
    chosen, _, noise = listed(p, labels, 0.2)
    assert noise.low <= 0.002
    assert chosen.sum() <= 0.001 * count


def test_a_higher_rate_lists_more_and_one_lists_every_disagreement():
    p, labels, _ = drawn(2000, 10, 0.1)
    counts = [listed(p, labels, rate)[0].sum() for rate in (0.05, 0.2, 0.5, 1)]
    assert 0 < counts[0] < counts[1] < counts[2] <= counts[3] == (p.argmax(1) != labels).sum()


def test_one_class_has_no_suspects():
    chosen, _, _ = listed(np.ones((9, 1)), np.zeros(9, np.int64), 1)
    assert not chosen.any()


def test_skill_is_the_gain_over_guessing():
    balanced, most = np.arange(100) % 4, np.arange(100) // 90
    assert skill(0.25, balanced) == pytest.approx(0)
    assert skill(0.625, balanced) == pytest.approx(0.5)
    assert skill(0.9, most) == pytest.approx(0)
    assert skill(1.0, np.zeros(5, np.int64)) == 0


def test_the_expectation_is_a_sentence():
    assert expectation({"listed": 15, "expected_right": 2.96, "fdr": 0.2}) == (
        "about 3.0 of these 15 labels are expected to be right (false discovery rate at most 0.2)"
    )
    assert expectation({"listed": 0, "expected_right": 0.0, "fdr": 0.2}).startswith("no label stands out")
