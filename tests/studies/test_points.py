"""What a curve is asked for."""

import pytest

from frostline.errors import ConfigError, UnknownNameError
from frostline.studies.points import ALL, CurveSpec, check_question


def test_every_way_is_asked_for_every_number_of_labels():
    points = CurveSpec(labels=(1, 10), ways=("frozen", "scratch"), repeats=2).points()
    assert points == [(way, n, r) for way in ("frozen", "scratch") for n in (1, 10) for r in (0, 1)]


def test_all_labels_are_for_quick_ways_and_asked_once():
    question = CurveSpec(labels=(1, ALL), repeats=3)
    with_all = [way for way, labels, _ in question.points() if labels == ALL]
    assert with_all == ["pixels", "random-frozen", "frozen"]
    full = CurveSpec(labels=(1, ALL), repeats=3, full=True)
    assert len([way for way, labels, _ in full.points() if labels == ALL]) == 5


@pytest.mark.parametrize(
    ("changes", "error", "fault"),
    [
        ({"ways": ("frozn",)}, UnknownNameError, "Did you mean 'frozen'?"),
        ({"ways": ()}, ConfigError, "at least one of each"),
        ({"seconds": 0}, ConfigError, "--seconds-per-point must be above 0"),
        ({"target": 80}, ConfigError, "--target between 0 and 1"),
        ({"repeats": 0}, ConfigError, "--repeats must be 1 or more"),
    ],
)
def test_impossible_questions_are_refused(changes, error, fault):
    with pytest.raises(error, match=fault):
        check_question(CurveSpec(**changes))
