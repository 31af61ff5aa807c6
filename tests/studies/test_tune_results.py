"""The summary of a search."""

import pytest

from frostline.studies.tune_results import TuneResult, format_summary
from frostline.studies.tune_study import ALL, FinishedTrial


def summary(*accuracies, val_images=6):
    tried = tuple(
        FinishedTrial(number, {}, {50: accuracy}, 1, 0.1, ALL) for number, accuracy in enumerate(accuracies, 1)
    )
    return "\n".join(format_summary(TuneResult(tried, {}, (50,), val_images, {})))


def test_interval_of_few_images_without_errors():
    text = summary(0.5, 1.0)
    assert "Best: trial 2 with validation accuracy 1.0000" in text
    assert "95 % interval is 0.6097 to 1.0000 (6 validation images). The accuracy is optimistic" in text
    assert "reached 0.5000: 0.5000 lower, 2.0 standard errors (not significant)" in text


@pytest.mark.parametrize(("val_images", "verdict"), [(6_000, "(significant)"), (100, "(not significant)")])
def test_a_gain_is_tested_for_significance(val_images, verdict):
    assert verdict in summary(0.9, 0.93, val_images=val_images)


def test_no_gain_is_reported_without_improvement():
    assert "lower" not in summary(1.0, 1.0)
