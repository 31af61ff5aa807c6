"""The trials of a search in an Optuna study (SQLite), and parameter importance."""

import base64
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frostline._utils.files import open_file, reading
from frostline._utils.hashing import digest_json
from frostline._utils.output_folder import START_OVER
from frostline.errors import RunError, require
from frostline.studies.tune_space import SEARCHED, Choice, Range, Space, Values, combinations, decision_order
from frostline.studies.tune_trials import TrialResult

if TYPE_CHECKING:
    import optuna

NAME = "frostline"
DIGEST = "blake2b"  # attribute of a trial: digest of its values and results
MAX_STUDY_BYTES = 1 << 30
PROPOSALS = 10  # of the sampler; if it has tried the settings of all of them, one of the others is drawn
FILLED = 8  # random values of a setting that is not in force, for the estimate of the importances
# Outcomes of a trial, as stored in studies on disk.
ALL, FEWER, DIVERGED = "all pictures", "fewer pictures", "diverged"


@dataclass(frozen=True)
class FinishedTrial:
    """A finished trial.

    Attributes
    ----------
    number : int
        From 1, in order of completion.
    values : dict
        By the names of the search space, of those in force.
    accuracies : dict of int to float
        On the validation split, by the number of training images.
    epochs : int
        Of the last training; 0 for a head in closed form.
    ended : str
        `ALL` if it was trained on all images, `FEWER` if it was stopped before, `DIVERGED` if its loss diverged.
    correct : bytes
        A bit for each validation image (`numpy.packbits`), 1 if the training on all images predicts it correctly.
        Empty without such a training, and in studies of earlier versions.
    """

    number: int
    values: Values
    accuracies: Mapping[int, float]
    epochs: int
    seconds: float
    ended: str
    correct: bytes = b""


def check_optuna() -> None:
    """Check that Optuna is installed, and silence its log."""
    require("tune", "tune", "optuna")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """A study on disk, written by one process at a time.

    Parameters
    ----------
    path : Path
        The SQLite file, created if missing.
    space : Space
    seed : int
        The values of a trial depend on it and on the finished trials, not on interruptions of the study.
    effective : callable
        Returns the settings in force with some values, as JSON values; no two trials have the same.

    Raises
    ------
    RunError
        When the file is damaged or not a study.
    """

    def __init__(self, path: Path, space: Space, seed: int, effective: Callable[[Values], Mapping[str, Any]]) -> None:
        import optuna

        self._path, self._space, self._seed, self._effective = path, space, seed, effective
        self._distributions = {name: _distribution(place) for name, place in space.items()}
        self._states = optuna.trial.TrialState
        with self._reading():
            if path.is_file():
                _check_pages(path)
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            self._study = optuna.create_study(
                study_name=NAME, storage=storage, direction="maximize", load_if_exists=True
            )
            for trial in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
                self._study.tell(trial.number, state=self._states.FAIL)  # its process was killed
        self.finished()

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self._path, RunError, START_OVER)

    def finished(self) -> list[FinishedTrial]:
        """Return the finished trials in order of completion, all of them checked."""
        with self._reading():
            finished = self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE, self._states.PRUNED))
            return [_finished(number, trial, self._used(trial)) for number, trial in enumerate(finished, 1)]

    def _used(self, trial: "optuna.trial.FrozenTrial") -> Values:
        """Return the values in force; earlier versions stored the others, too."""
        same = all(self._distributions.get(name) == place for name, place in trial.distributions.items())
        names = self._in_force(trial.params) if same else []
        if not same or not trial.params.keys() >= {*names}:
            raise ValueError(f"trial {trial.number} belongs to another search space")
        return {name: trial.params[name] for name in names}

    def _in_force(self, values: Values) -> list[str]:
        """Return the names of the search space whose settings are in force with some values."""
        effective = self._effective(values)
        return [name for name in self._space if SEARCHED[name][0] in effective]

    def _identity(self, values: Values) -> str:
        """Return a digest that trials with the same settings in force share."""
        return digest_json(self._effective(values))

    def ask(self, start: Values) -> "OpenTrial | None":
        """Start a trial with settings in force that no other has, or return None where there are none left.

        The first has the values of ``start``, later ones have values proposed by TPE.
        """
        import optuna

        finished = self.finished()
        tried = {self._identity(trial.values) for trial in finished}
        left = self._untried(tried)
        if not left:
            return None
        if not finished:
            self._study.enqueue_trial(start)
        for number in count():
            # Each trial has its own sampler, so that a resumed study equals an uninterrupted one.
            seed = (self._seed + 1_000_003 * len(finished) + 7_919 * number) % 2**32
            if number >= PROPOSALS:
                self._study.enqueue_trial(left[np.random.default_rng(seed).integers(len(left))])
            self._study.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = self._study.ask()
            values = self._suggest(trial)
            if self._identity(values) not in tried:
                break
            self._study.tell(trial, state=self._states.FAIL)
        return OpenTrial(self._study, trial, values, len(finished) + 1)

    def _suggest(self, trial: "optuna.Trial") -> Values:
        """Choose the values in force of a trial."""
        values: Values = {}
        for name in decision_order(self._space):
            place = self._space[name]
            if name not in self._in_force(values):
                continue
            if isinstance(place, Choice):
                values[name] = trial.suggest_categorical(name, tuple(place.options))
            else:
                values[name] = trial.suggest_float(name, place.low, place.high, log=place.log)
        return {name: values[name] for name in self._space if name in values}

    def _untried(self, tried: set[str]) -> list[Values]:
        """Return the combinations of named options in force that are untried, or have a range in force."""
        left: dict[str, Values] = {}
        for options in combinations(self._space):
            names = self._in_force(options)
            values = {name: options[name] for name in names if name in options}
            identity = self._identity(values)
            if identity not in tried or len(values) < len(names):
                left.setdefault(identity, values)
        return list(left.values())


class OpenTrial:
    """A running trial; without an outcome it counts as failed and is repeated."""

    def __init__(self, study: "optuna.Study", trial: "optuna.Trial", values: Values, number: int) -> None:
        self._study, self._trial = study, trial
        self.number, self.values = number, values
        self._seconds, self._epochs, self._correct = 0.0, 0, ""
        self._accuracies: dict[int, float] = {}

    def report(self, images: int, outcome: TrialResult) -> None:
        """Record the result of the training on some images."""
        self._trial.report(outcome.accuracy, images)
        self._accuracies[images] = float(outcome.accuracy)
        self._seconds, self._epochs = self._seconds + outcome.seconds, outcome.epochs
        if outcome.correct is not None:
            self._correct = base64.b64encode(np.packbits(outcome.correct).tobytes()).decode()

    def end(self, how: str, accuracy: float) -> None:
        """Record the outcome."""
        import optuna

        facts = {"ended": how, "seconds": self._seconds, "epochs": self._epochs, "correct": self._correct}
        digest = _digest(self.values, self._accuracies, facts)
        for name, value in (facts | {DIGEST: digest}).items():
            self._trial.set_user_attr(name, value)
        if how == ALL:
            self._study.tell(self._trial, accuracy)
        else:
            self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self) -> None:
        """Record a failure, such as an interruption."""
        import optuna

        self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)


def _check_pages(path: Path) -> None:
    """Check an SQLite file for damage, which SQLite itself does only on request."""
    open_file(path, MAX_STUDY_BYTES).close()
    with closing(sqlite3.connect(path)) as database:
        (answer,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if answer != "ok":
        raise ValueError(answer)


def _finished(number: int, trial: "optuna.trial.FrozenTrial", values: Values) -> FinishedTrial:
    accuracies = dict(sorted(trial.intermediate_values.items()))
    facts = {name: trial.user_attrs[name] for name in ("ended", "seconds", "epochs")}
    if "correct" in trial.user_attrs:  # earlier versions did not write it
        facts["correct"] = trial.user_attrs["correct"]
    if facts["ended"] not in (ALL, FEWER, DIVERGED) or not all(0 <= value <= 1 for value in accuracies.values()):
        raise ValueError(f"trial {trial.number} has impossible values")
    # Earlier versions wrote no digests.
    if trial.user_attrs.get(DIGEST, "") not in ("", _digest(trial.params, accuracies, facts)):
        raise ValueError(f"trial {trial.number} is not what was written")
    correct = base64.b64decode(facts.get("correct", ""), validate=True)
    return FinishedTrial(number, values, accuracies, facts["epochs"], facts["seconds"], facts["ended"], correct)


def _digest(values: Mapping[str, Any], accuracies: Mapping[int, float], facts: Mapping[str, Any]) -> str:
    return digest_json([dict(values), {str(count): value for count, value in accuracies.items()}, dict(facts)])


def importances(trials: Sequence[FinishedTrial], space: Space, images: int, seed: int) -> dict[str, float]:
    """Return the importance of each name by fANOVA: its fraction of the variance of accuracy on a rung.

    A random forest is fitted to the trials, and its variance over the search space is attributed to the names (Hutter
    et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance"). Where a setting is not in force, its
    value changes nothing: such a trial stands in the forest with several random ones. Empty if all accuracies are
    equal, and without two names that are in force in a trial.
    """
    import optuna

    study, draw = optuna.create_study(direction="maximize"), np.random.default_rng(seed)
    counted = [trial for trial in trials if images in trial.accuracies and trial.ended != DIVERGED]
    space = {name: place for name, place in space.items() if any(name in trial.values for trial in counted)}
    if len(space) < 2:
        return {}
    distributions = {name: _distribution(place) for name, place in space.items()}
    for trial in counted:
        for _ in range(FILLED if space.keys() - trial.values.keys() else 1):
            params = {name: trial.values.get(name, _drawn(place, draw)) for name, place in space.items()}
            study.add_trial(
                optuna.create_trial(params=params, distributions=distributions, value=trial.accuracies[images])
            )
    if len({added.value for added in study.get_trials(deepcopy=False)}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=seed)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _drawn(place: Range | Choice, draw: np.random.Generator) -> Any:
    """Return a random value, uniform on the scale of the place."""
    if isinstance(place, Choice):
        return list(place.options)[draw.integers(len(place.options))]
    if place.log:
        return math.exp(draw.uniform(math.log(place.low), math.log(place.high)))
    return draw.uniform(place.low, place.high)


def _distribution(place: Range | Choice) -> Any:
    import optuna

    if isinstance(place, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(place.options))
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
