"""The study of a search: which trials it starts, and what it credits."""

from pathlib import Path

import optuna
import pytest

from frostline.config import TrainConfig
from frostline.errors import RunError
from frostline.pipeline.in_force import in_force
from frostline.studies.tune_space import SEARCHED, Choice, Range, settings
from frostline.studies.tune_study import ALL, NAME, FinishedTrial, Study, importances
from frostline.studies.tune_trials import TrialResult

HEAD = Choice({"linear": {"head": "linear"}, "ridge": {"head": "ridge"}, "mlp 64": {"head": "mlp", "hidden_width": 64}})
BATCH = Choice({"128": {"batch_size": 128}, "256": {"batch_size": 256}})
TAPS = Choice({name: {"taps": (name,)} for name in ("conv3", "conv4", "conv5")})
LR = Range(1e-4, 1e-2, log=True)
FINITE = {"head": HEAD, "taps": TAPS, "batch_size": BATCH}
ENDLESS = {"lr": LR, "head": HEAD, "taps": TAPS}
START = {"head": "ridge", "taps": "conv5", "batch_size": "256"}


def make_study(path: Path, space, seed=0):
    def effective(values):
        config = TrainConfig(**{"data": "mine", "head": "linear", **settings(space, values)})
        names = in_force(config, thaws=False)
        return {name: value for name, value in config.model_dump(mode="json").items() if name in names}

    return Study(path, space, seed, effective)


def run(study, trials, start, accuracy=0.5):
    """Run up to so many trials, all of one accuracy, and return their values."""
    for _ in range(trials):
        trial = study.ask(start)
        if trial is None:
            break
        trial.report(100, TrialResult(accuracy, 1, 0.1))
        trial.end(ALL, accuracy)
    return [one.values for one in study.finished()]


def test_a_finite_space_is_searched_once_and_then_exhausted(tmp_path):
    study = make_study(tmp_path / "study.db", FINITE)
    tried = run(study, 40, START)
    assert tried[0] == {"head": "ridge", "taps": "conv5"}
    assert len(tried) == len({tuple(values.items()) for values in tried}) == 3 + 2 * 3 * 2
    assert all(("batch_size" in values) == (values["head"] != "ridge") for values in tried)
    assert study.ask(START) is None


def test_trials_differ_in_what_is_in_force(tmp_path):
    tried = run(make_study(tmp_path / "study.db", ENDLESS), 25, {"lr": 1e-3, "head": "ridge", "taps": "conv5"})
    assert len(tried) == len({tuple(values.items()) for values in tried}) == 25
    closed = [values for values in tried if values["head"] == "ridge"]
    assert all("lr" not in values for values in closed) and 1 <= len(closed) <= 3
    assert all(LR.low <= values["lr"] <= LR.high for values in tried if values["head"] != "ridge")


def test_a_sampler_that_insists_on_one_setting_is_led_to_another(tmp_path):
    study = make_study(tmp_path / "study.db", ENDLESS)
    start = {"lr": 1e-3, "head": "ridge", "taps": "conv5"}
    for _ in range(16):
        trial = study.ask(start)
        accuracy = 0.9 if trial.values["head"] == "ridge" else 0.1
        trial.report(100, TrialResult(accuracy, 1, 0.1))
        trial.end(ALL, accuracy)
    assert sum(one.values["head"] == "ridge" for one in study.finished()) == 3


def test_values_do_not_depend_on_interruptions(tmp_path):
    whole = run(make_study(tmp_path / "whole.db", ENDLESS), 12, START | {"lr": 1e-3})
    for _ in range(4):
        study = make_study(tmp_path / "parts.db", ENDLESS)
        study.ask(START | {"lr": 1e-3})  # killed
        parts = run(make_study(tmp_path / "parts.db", ENDLESS), 3, START | {"lr": 1e-3})
    assert parts == whole


def earlier_study(path, **params):
    """A study of an earlier version, whose trials have a value for each name."""
    study = optuna.create_study(study_name=NAME, storage=f"sqlite:///{path}", direction="maximize")
    space = {
        "lr": optuna.distributions.FloatDistribution(LR.low, LR.high, log=True),
        "head": optuna.distributions.CategoricalDistribution(tuple(HEAD.options)),
        "taps": optuna.distributions.CategoricalDistribution(tuple(TAPS.options)),
    }
    facts = {"ended": ALL, "seconds": 1.0, "epochs": 1}
    distributions = {name: space[name] for name in params}
    study.add_trial(
        optuna.create_trial(
            params=params, distributions=distributions, value=0.5, intermediate_values={100: 0.5}, user_attrs=facts
        )
    )


def test_trials_of_an_earlier_version_keep_what_was_in_force(tmp_path):
    earlier_study(tmp_path / "study.db", lr=1e-3, head="ridge", taps="conv4")
    study = make_study(tmp_path / "study.db", ENDLESS)
    (trial,) = study.finished()
    assert trial.values == {"head": "ridge", "taps": "conv4"} and trial.correct == b""
    assert all(values != trial.values for values in run(study, 8, {})[1:])


def test_a_trial_without_a_setting_that_is_in_force_is_refused(tmp_path):
    earlier_study(tmp_path / "study.db", head="linear", taps="conv4")
    with pytest.raises(RunError, match=r"study\.db is damaged \(trial 0 belongs to another search space\)"):
        make_study(tmp_path / "study.db", ENDLESS)


def finished(values, accuracy):
    return FinishedTrial(1, values, {100: accuracy}, 1, 0.1, ALL)


AMOUNTS = [0.3 * number / 11 for number in range(12)]
SMOOTHED = {"label_smoothing": Range(0.0, 0.3), "head": HEAD}


def graded(accuracy):
    """Trials of both heads that are trained step by step, with an accuracy for each amount of label smoothing."""
    return [
        finished({"label_smoothing": amount, "head": head}, accuracy(amount))
        for amount in AMOUNTS
        for head in ("linear", "mlp 64")
    ]


def test_settings_that_are_not_in_force_get_no_credit():
    trials = [*graded(lambda amount: 0.5), finished({"head": "ridge"}, 0.9)]
    found = importances(trials, SMOOTHED, 100, 0)
    assert found["head"] > 0.95 and found["label_smoothing"] < 0.05
    assert importances(trials, SMOOTHED, 100, 0) == found


def test_settings_in_force_are_credited():
    trials = [*graded(lambda amount: 0.5 + 0.4 * (amount > 0.15)), finished({"head": "ridge"}, 0.7)]
    assert importances(trials, SMOOTHED, 100, 0)["label_smoothing"] > 0.9


def test_a_setting_that_was_never_in_force_has_no_importance():
    trials = [
        finished({"head": "ridge", "taps": name}, accuracy)
        for name, accuracy in zip(TAPS.options, (0.5, 0.6, 0.7), strict=True)
    ]
    assert importances(trials, {"head": HEAD, "taps": TAPS, "lr": LR}, 100, 0).keys() == {"head", "taps"}
    assert (
        importances(
            [finished({"taps": "conv3"}, 0.1), finished({"taps": "conv4"}, 0.2)], {"taps": TAPS, "lr": LR}, 100, 0
        )
        == {}
    )


def test_the_search_space_names_one_setting_each():
    assert all(name in TrainConfig.model_fields for name, _ in SEARCHED.values())
