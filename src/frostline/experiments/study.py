"""The trials of a search, kept in Optuna's SQLite study: which values come next, and what came of those before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.errors import ConfigError, RunError, first_line
from frostline.experiments.space import Choice, Range, Space, Values
from frostline.experiments.trial import Outcome

if TYPE_CHECKING:
    import optuna

NAME = "frostline"
ALL, FEWER, DIVERGED = "all pictures", "fewer pictures", "diverged"  # how a trial ended


@dataclass(frozen=True)
class Tried:
    """A trial that has ended.

    Attributes
    ----------
    number : int
        From 1, in the order of the trials that ended.
    values : dict
        What it was trained with, by the names of the space.
    accuracies : dict of int to float
        On validation, by the number of training pictures.
    ended : str
        `ALL` when it got to all pictures, `FEWER` when it was stopped before, `DIVERGED` when its loss exploded.
    """

    number: int
    values: Values
    accuracies: Mapping[int, float]
    epochs: int
    seconds: float
    ended: str


def check_optuna() -> None:
    """Refuse to search without Optuna.

    Raises
    ------
    ConfigError
    """
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tune needs Optuna, which is not installed: pip install 'frostline[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Study:
    """A study on disk; one process may write it.

    Parameters
    ----------
    path : Path
        The SQLite file; made when it does not exist.
    space : Space
    seed : int
        The values of a trial depend on it and on the trials that ended before, not on how often the study was stopped.

    Raises
    ------
    RunError
        When the file is no study.
    """

    def __init__(self, path: Path, space: Space, seed: int) -> None:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError

        self._space, self._seed = space, seed
        self._distributions = {name: _distribution(place) for name, place in space.items()}
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            self._study = optuna.create_study(
                study_name=NAME, storage=storage, direction="maximize", load_if_exists=True
            )
            self._states = optuna.trial.TrialState
            for trial in self._study.get_trials(deepcopy=False, states=(self._states.RUNNING,)):
                self._study.tell(trial.number, state=self._states.FAIL)  # its process was killed
        except (SQLAlchemyError, RuntimeError) as error:
            raise RunError(f"{path} cannot be read ({first_line(error)}): --overwrite begins again.") from error

    def tried(self) -> list[Tried]:
        """Return the trials that ended, in their order."""
        ended = self._study.get_trials(deepcopy=False, states=(self._states.COMPLETE, self._states.PRUNED))
        return [
            Tried(
                number,
                dict(trial.params),
                dict(sorted(trial.intermediate_values.items())),
                trial.user_attrs["epochs"],
                trial.user_attrs["seconds"],
                trial.user_attrs["ended"],
            )
            for number, trial in enumerate(ended, 1)
        ]

    def ask(self, start: Values) -> "OpenTrial":
        """Begin a trial: the first one with the values of ``start``, the others where earlier ones point to."""
        import optuna

        count = len(self.tried())
        if not count:
            self._study.enqueue_trial(start)
        # A sampler of its own for each trial: a study that was stopped goes on as if it had not been.
        self._study.sampler = optuna.samplers.TPESampler(seed=(self._seed + 1_000_003 * count) % 2**32)
        return OpenTrial(self._study, self._study.ask(self._distributions), count + 1)


class OpenTrial:
    """A trial that runs; left without an end it counts as failed, and is begun again."""

    def __init__(self, study: "optuna.Study", trial: "optuna.Trial", number: int) -> None:
        self._study, self._trial = study, trial
        self.number = number
        self.values: Values = dict(trial.params)
        self._seconds, self._epochs = 0.0, 0

    def report(self, pictures: int, outcome: Outcome) -> None:
        """Note what the training on some pictures came to."""
        self._trial.report(outcome.accuracy, pictures)
        self._seconds, self._epochs = self._seconds + outcome.seconds, outcome.epochs

    def end(self, how: str, accuracy: float) -> None:
        """Note the end."""
        import optuna

        for name, value in (("ended", how), ("seconds", self._seconds), ("epochs", self._epochs)):
            self._trial.set_user_attr(name, value)
        if how == ALL:
            self._study.tell(self._trial, accuracy)
        else:
            self._study.tell(self._trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self) -> None:
        """Note that it came to nothing, as when the process is stopped."""
        import optuna

        self._study.tell(self._trial, state=optuna.trial.TrialState.FAIL)


def importances(tried: Sequence[Tried], space: Space, pictures: int, seed: int) -> dict[str, float]:
    """Return each name's share of the variance of accuracy after a number of pictures, by fANOVA.

    A random forest is fitted to the trials, and its variance over the space is divided among the names (Hutter et al.
    2014, "An Efficient Approach for Assessing Hyperparameter Importance"). Empty when nothing can be said.
    """
    import optuna

    study = optuna.create_study(direction="maximize")
    for one in tried:
        if pictures in one.accuracies and one.ended != DIVERGED:
            distributions = {name: _distribution(place) for name, place in space.items()}
            study.add_trial(
                optuna.create_trial(params=one.values, distributions=distributions, value=one.accuracies[pictures])
            )
    if len({trial.value for trial in study.get_trials(deepcopy=False)}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=seed)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _distribution(place: Range | Choice) -> Any:
    import optuna

    if isinstance(place, Choice):
        return optuna.distributions.CategoricalDistribution(tuple(place.options))
    return optuna.distributions.FloatDistribution(place.low, place.high, log=place.log)
