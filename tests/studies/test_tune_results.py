"""The summary and the table of a search."""

import csv

import numpy as np
import pytest
from PIL import Image

from frostline.studies.tune_results import TuneResult, draw, format_summary, write_table
from frostline.studies.tune_space import Choice, Range
from frostline.studies.tune_study import ALL, DIVERGED, FEWER, FinishedTrial

SPACE = {
    "lr": Range(1e-4, 1e-2, log=True),
    "head": Choice({"linear": {"head": "linear"}, "ridge": {"head": "ridge"}}),
    "label_smoothing": Range(0.0, 0.3),
}


def trial(number, correct, ended=ALL, **values):
    """A trial that is correct on the validation images marked with 1, at the end of 50 training images."""
    marks = np.array([mark == "1" for mark in correct])
    return FinishedTrial(number, values, {50: marks.mean()}, 1, 0.1, ended, np.packbits(marks).tobytes())


def result(*trials, space=SPACE, importances=None):
    images = max(8 * len(one.correct) for one in trials)
    return TuneResult(tuple(trials), space, (50,), images, importances or {})


def summary(*marks, more=0):
    """The summary of trials that are correct on the marked images, and of more that were stopped before."""
    trials = [trial(number, one) for number, one in enumerate(marks, 1)]
    trials += [FinishedTrial(len(trials) + 1, {}, {50: 0.1}, 1, 0.1, FEWER) for _ in range(more)]
    return "\n".join(format_summary(TuneResult(tuple(trials), {}, (50,), len(marks[0]), {})))


# The best is right on 90 of 100, the default on 80; 12 and 2 images are right in one of them alone.
BEST, DEFAULT = "1" * 78 + "1" * 12 + "0" * 2 + "0" * 8, "1" * 78 + "0" * 12 + "1" * 2 + "0" * 8


def test_interval_of_few_images_without_errors():
    text = summary("111000", "111111")
    assert "Best: trial 2 with validation accuracy 1.0000" in text
    assert "95 % interval is 0.6097 to 1.0000 (6 validation images). The accuracy is optimistic" in text
    assert "right on 100.0 % of the validation images, the default (trial 1) on 50.0 %: no more than chance" in text
    assert "(p = 0.25, McNemar's test, corrected for the best of 2 trials)" in text  # 2 * 0.5 ** 3


@pytest.mark.parametrize(
    ("more", "verdict"),
    [
        # 2 * (1 + 14 + 91) / 2 ** 14 = 0.01294, times the number of other trials
        (0, "more than chance (p = 0.013, McNemar's test, corrected for the best of 2 trials)"),
        (2, "more than chance (p = 0.039, McNemar's test, corrected for the best of 4 trials)"),
        (18, "no more than chance (p = 0.25, McNemar's test, corrected for the best of 20 trials)"),
        (98, "no more than chance (p = 1, McNemar's test, corrected for the best of 100 trials)"),
    ],
)
def test_the_gain_is_tested_on_the_same_images_and_for_the_number_of_trials(more, verdict):
    text = summary(DEFAULT, BEST, more=more)
    line = f"The best trial is right on 90.0 % of the validation images, the default (trial 1) on 80.0 %: {verdict}."
    assert line in text.splitlines()


def test_a_small_p_value_is_a_bound_and_many_images_have_two_decimals():
    text = summary("0" * 1500 + "1" * 1500, "1" * 2985 + "0" * 15)
    assert "right on 99.50 % of the validation images, the default (trial 1) on 50.00 %: more than chance" in text
    assert "(p < 0.0001, " in text


def test_images_that_both_get_right_do_not_count():
    assert "more than chance (p = 0.013" in summary("1" * 2000 + DEFAULT, "1" * 2000 + BEST)


def test_the_default_may_be_the_best():
    assert "The default, trial 1, is the best of 2 trials." in summary("11", "11")
    assert "The default is the only trial." in summary("11")
    assert "than chance" not in summary("11", "11") + summary("11")


def test_a_default_without_predictions_is_not_compared():
    wild = FinishedTrial(1, {}, {50: 0.0}, 0, 0.1, DIVERGED)
    earlier = FinishedTrial(1, {}, {50: 0.5}, 1, 0.1, ALL)
    after = trial(2, "11111111")
    assert "The default, trial 1, diverged: " in "\n".join(format_summary(result(wild, after)))
    assert "more than chance is not known: an earlier version" in "\n".join(format_summary(result(earlier, after)))


def test_cells_of_settings_that_were_not_in_force_are_empty(tmp_path):
    trials = trial(1, "11110000", head="ridge"), trial(2, "11111000", lr=1e-3, head="linear", label_smoothing=0.1)
    closed = FinishedTrial(**{**vars(trials[0]), "epochs": 0})
    write_table(result(closed, trials[1]), tmp_path / "trials.csv")
    with (tmp_path / "trials.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["head"], first["lr"], first["label_smoothing"], first["epochs"]) == ("ridge", "", "", "")
    assert (second["head"], second["lr"], second["label_smoothing"], second["epochs"]) == (
        "linear",
        "0.001",
        "0.1",
        "1",
    )
    text = "\n".join(format_summary(result(closed, trials[1])))
    assert (
        "Best: trial 2 with validation accuracy 0.6250: learning rate 0.001, head linear, label smoothing 0.1." in text
    )
    assert "Best: trial 1 with validation accuracy 0.5000: head ridge." in "\n".join(format_summary(result(closed)))


def test_the_plot_has_the_trials_in_which_a_setting_is_in_force(tmp_path):
    trials = trial(1, "11110000", head="ridge"), trial(2, "11111000", lr=1e-3, head="linear", label_smoothing=0.1)
    shares = {"head": (0.7, 0.1), "lr": (0.3, float("nan"))}
    draw(result(*trials, importances=shares), "importance", tmp_path / "importance.png")
    with Image.open(tmp_path / "importance.png") as image:
        assert (image.format, image.width > 1000) == ("PNG", True)
