"""Successive halving over images."""

import numpy as np
import pytest

from frostline.studies.halving import amounts, nested, should_promote


@pytest.mark.parametrize(
    ("images", "classes", "expected"),
    [
        (54_000, 10, (843, 3_375, 13_500, 54_000)),
        (2_400, 10, (600, 2_400)),
        (1_900, 10, (1_900,)),
        (54_000, 100, (3_375, 13_500, 54_000)),
        (30, 3, (30,)),
    ],
)
def test_amounts_end_with_all_and_never_begin_with_too_few(images, classes, expected):
    assert amounts(images, classes) == expected


def test_fewer_images_are_among_the_more_and_stratified():
    labels = np.repeat(np.arange(4), 100)
    drawn = nested(labels, (40, 120, 400), seed=3)
    assert [len(drawn[n]) for n in (40, 120, 400)] == [40, 120, 400]
    assert set(drawn[40]) < set(drawn[120]) < set(drawn[400])
    assert (np.diff(drawn[120]) > 0).all()
    assert np.bincount(labels[drawn[40]]).tolist() == [10] * 4


@pytest.mark.parametrize(
    ("accuracy", "others", "expected"),
    [
        (0.1, [], True),  # the first
        (0.5, [0.4], True),
        (0.4, [0.5], False),
        (0.8, [0.9, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], True),  # second of eight
        (0.8, [0.9, 0.85, 0.2, 0.3, 0.4, 0.5, 0.6], False),
        (0.9, [0.9, 0.1], True),  # equals of the best
    ],
)
def test_the_best_quarter_goes_on(accuracy, others, expected):
    assert should_promote(accuracy, others) is expected
