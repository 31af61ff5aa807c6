"""Other programs that a run is told to: which, from when on, and that none of them can stop it.

Tracking decides nothing about a run, so it is no setting: ``config.toml`` does not hold it. ``runs/NAME/tracking.json``
says what a run was tracked with; a resumed run goes on there.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import ConfigDict, Field, TypeAdapter

from frostline._utils.extras import missing_package
from frostline._utils.files import read_bytes, reading
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_json
from frostline.config import TrainConfig
from frostline.errors import ConfigError, RunError, UnknownNameError, first_line
from frostline.runs.folder import Run
from frostline.training.checkpoint import Epoch

PACKAGES = {"mlflow": "mlflow", "tensorboard": "tensorboardX"}
NOTES = TypeAdapter(dict[str, Annotated[str, Field(max_length=100)]], config=ConfigDict(strict=True))
TOO_MANY = frozenset({"per_class", "confusion", "seed", "schema"})


class Tracker(Protocol):
    """One program that is told. It may be told the same twice, and then keeps it once."""

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Keep the epochs that are new."""

    def results(self, results: dict[str, float], step: int) -> None:
        """Keep the final results."""

    def close(self, status: str) -> None:
        """End: ``FINISHED``, ``FAILED`` or ``KILLED``."""


class Tracking:
    """All trackers of a run; one that fails is named once and told nothing more.

    Parameters
    ----------
    trackers : dict of str to Tracker
    """

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self._trackers = trackers

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Tell the history so far."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.epochs(history)

    def results(self, metrics: dict[str, Any]) -> None:
        """Tell what ``metrics.json`` holds."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.results(flat(metrics), metrics["training"]["epochs"])

    def close(self, status: str) -> None:
        """End all of them."""
        for name, tracker in list(self._trackers.items()):
            with self._guarded(name):
                tracker.close(status)

    @contextmanager
    def _guarded(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever another program raises, the run matters more
            del self._trackers[name]
            log.warning(
                "--track %s failed (%s) and is told nothing more; the run goes on. `--resume --track %s` catches up.",
                name, first_line(error), name,
            )  # fmt: skip


def split_names(names: Iterable[str]) -> list[str]:
    """Return trackers' names, given one by one or with commas, each once."""
    return list(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))


def choose_trackers(asked: Iterable[str], run: Run, *, resumed: bool) -> list[str]:
    """Return what a run is tracked with: what is asked for and, when it is resumed, what it was begun with.

    Raises
    ------
    ConfigError
        When a name is unknown, its package is missing, or it would ask an address that must not be asked.
    """
    names = split_names([*asked, *(_noted(run) if resumed else {})])
    for name in names:
        if name not in PACKAGES:
            raise UnknownNameError("tracker", name, PACKAGES)
        if find_spec(PACKAGES[name]) is None:
            raise missing_package(f"--track {name}", PACKAGES[name], "track")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "mlflow" in names and uri.startswith("http") and os.environ.get("FROSTLINE_OFFLINE") == "1":
        raise ConfigError(f"--track mlflow would ask {uri}, and FROSTLINE_OFFLINE=1 forbids it: unset one of the two.")
    return names


@contextmanager
def tracked(names: Sequence[str], run: Run, config: TrainConfig) -> Iterator[Tracking]:
    """Track a run while it goes on.

    Raises
    ------
    RunError
        When a tracker cannot begin.
    """
    tracking = Tracking({name: _open(name, run, config) for name in names})
    status = "FAILED"
    try:
        yield tracking
        status = "FINISHED"
    except KeyboardInterrupt:
        status = "KILLED"
        raise
    finally:
        tracking.close(status)


def _open(name: str, run: Run, config: TrainConfig) -> Tracker:
    noted = _noted(run)
    if (run.folder / "tensorboard").is_symlink():
        raise RunError(f"{run.folder / 'tensorboard'} is a symbolic link: put it elsewhere, or leave --track out.")
    try:
        if name == "mlflow":
            from frostline.runs.track_mlflow import MlflowTracker

            mlflow = MlflowTracker(run, config, noted.get(name))
            tracker: Tracker = mlflow
            note = mlflow.run_id
        else:
            from frostline.runs.track_tensorboard import EventFiles

            tracker, note = EventFiles(run.folder / "tensorboard", config, resumed=name in noted), "tensorboard"
    except Exception as error:
        raise RunError(
            f"--track {name} cannot begin ({first_line(error)}): mend it, or leave it out; "
            f"`--resume --name {run.name}` goes on."
        ) from error
    write_json(_notes(run), noted | {name: note}, OTHER_OUTPUT_DIR)
    return tracker


def _notes(run: Run) -> Path:
    return run.folder / "tracking.json"


def _noted(run: Run) -> dict[str, str]:
    """Return where the run is tracked; the manifest does not list it: a finished run may be tracked, too."""
    path = _notes(run)
    if not os.path.lexists(path):
        return {}
    remedy = "remove it to track the run anew"
    with reading(path, RunError, remedy):
        return NOTES.validate_json(read_bytes(path))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the single numbers of ``metrics.json`` under dotted names, such as ``test.accuracy``."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if name in TOO_MANY:
            continue
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = float(value)
        elif name == "accuracy_ci95":
            found |= {f"{prefix}{name}.low": value[0], f"{prefix}{name}.high": value[1]}
    return found
