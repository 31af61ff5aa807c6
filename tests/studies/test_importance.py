"""What a search says of itself."""

import pytest

from frostline.studies.importance import Findings, format_summary
from frostline.studies.study import ALL, FinishedTrial


def said(*accuracies, judges=6):
    tried = tuple(
        FinishedTrial(number, {}, {50: accuracy}, 1, 0.1, ALL) for number, accuracy in enumerate(accuracies, 1)
    )
    return "\n".join(format_summary(Findings(tried, {}, (50,), judges, {})))


def test_few_images_that_are_all_right_are_no_certainty():
    text = said(0.5, 1.0)
    assert "Best: trial 2 with validation accuracy 1.0000" in text
    assert "95 % interval is 0.6097 to 1.0000 (6 validation images), and it is optimistic" in text
    assert "came to 0.5000: 0.5000 less, 2.0 standard errors; chance alone" in text


@pytest.mark.parametrize(
    ("judges", "verdict"), [(6_000, "more than chance makes"), (100, "chance alone may make as much")]
)
def test_a_gain_is_held_against_chance(judges, verdict):
    assert verdict in said(0.9, 0.93, judges=judges)


def test_where_nothing_is_better_no_gain_is_told():
    assert "less" not in said(1.0, 1.0)
