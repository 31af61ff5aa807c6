"""The trials of a search in an Optuna study (SQLite), and parameter importance."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline._utils.files import open_file, reading
from frostline._utils.hashing import digest_json
from frostline._utils.output_folder import START_OVER
from frostline.errors import RunError, require
from frostline.studies.tune_space import Choice, Range, Space, Values
from frostline.studies.tune_trials import TrialResult

if TYPE_CHECKING:
    import optuna

NAME = "frostline"
DIGEST = "blake2b"  # attribute of a trial: digest of its values and results
MAX_STUDY_BYTES = 1 << 30
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
        By the names of the search space.
    accuracies : dict of int to float
        On the validation split, by the number of training images.
    ended : str
        `ALL` if it was trained on all images, `FEWER` if it was stopped before, `DIVERGED` if its loss diverged.
    """

    number: int
    values: Values
    accuracies: Mapping[int, float]
    epochs: int
    seconds: float
    ended: str


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

    Raises
    ------
    RunError
        When the file is damaged or not a study.
    """

    def __init__(self, path: Path, space: Space, seed: int) -> None:
        import optuna

        self._path, self._space, self._seed = path, space, seed
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
            for trial in finished:
                if trial.distributions != self._distributions:
                    raise ValueError(f"trial {trial.number} belongs to another search space")
            return [_finished(number, trial) for number, trial in enumerate(finished, 1)]

    def ask(self, start: Values) -> "OpenTrial":
        """Start a trial: the first with the values of ``start``, later ones with values proposed by TPE."""
        import optuna

        count = len(self.finished())
        if not count:
            self._study.enqueue_trial(start)
        # Each trial has its own sampler, so that a resumed study equals an uninterrupted one.
        self._study.sampler = optuna.samplers.TPESampler(seed=(self._seed + 1_000_003 * count) % 2**32)
        return OpenTrial(self._study, self._study.ask(self._distributions), count + 1)


class OpenTrial:
    """A running trial; without an outcome it counts as failed and is repeated."""

    def __init__(self, study: "optuna.Study", trial: "optuna.Trial", number: int) -> None:
        self._study, self._trial = study, trial
        self.number = number
        self.values: Values = dict(trial.params)
        self._seconds, self._epochs = 0.0, 0
        self._accuracies: dict[int, float] = {}

    def report(self, images: int, outcome: TrialResult) -> None:
        """Record the result of the training on some images."""
        self._trial.report(outcome.accuracy, images)
        self._accuracies[images] = float(outcome.accuracy)
        self._seconds, self._epochs = self._seconds + outcome.seconds, outcome.epochs

    def end(self, how: str, accuracy: float) -> None:
        """Record the outcome."""
        import optuna

        facts = {"ended": how, "seconds": self._seconds, "epochs": self._epochs}
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


def _finished(number: int, trial: "optuna.trial.FrozenTrial") -> FinishedTrial:
    accuracies = dict(sorted(trial.intermediate_values.items()))
    facts = {name: trial.user_attrs[name] for name in ("ended", "seconds", "epochs")}
    if facts["ended"] not in (ALL, FEWER, DIVERGED) or not all(0 <= value <= 1 for value in accuracies.values()):
        raise ValueError(f"trial {trial.number} has impossible values")
    # Earlier versions wrote no digests.
    if trial.user_attrs.get(DIGEST, "") not in ("", _digest(trial.params, accuracies, facts)):
        raise ValueError(f"trial {trial.number} is not what was written")
    return FinishedTrial(number, dict(trial.params), accuracies, facts["epochs"], facts["seconds"], facts["ended"])


def _digest(values: Mapping[str, Any], accuracies: Mapping[int, float], facts: Mapping[str, Any]) -> str:
    return digest_json([dict(values), {str(count): value for count, value in accuracies.items()}, dict(facts)])


def importances(trials: Sequence[FinishedTrial], space: Space, images: int, seed: int) -> dict[str, float]:
    """Return the importance of each name by fANOVA: its fraction of the variance of accuracy on a rung.

    A random forest is fitted to the trials, and its variance over the search space is attributed to the names (Hutter
    et al. 2014, "An Efficient Approach for Assessing Hyperparameter Importance"). Empty if all accuracies are equal.
    """
    import optuna

    study = optuna.create_study(direction="maximize")
    for trial in trials:
        if images in trial.accuracies and trial.ended != DIVERGED:
            distributions = {name: _distribution(place) for name, place in space.items()}
            study.add_trial(
                optuna.create_trial(params=trial.values, distributions=distributions, value=trial.accuracies[images])
            )
    if len({added.value for added in study.get_trials(deepcopy=False)}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=seed)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _distribution(place: Range | Choice) -> Any:
    import optuna

    if isinstance(place, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(place.options))
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
