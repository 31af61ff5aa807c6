"""Other programs that a run is told to: which, from when on, and that none of them can stop it.

Tracking decides nothing about a run, so it is no setting: ``config.toml`` does not hold it. ``runs/NAME/tracking.json``
says what a run was tracked with; a resumed run goes on there.
"""

import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Protocol

import tomli_w
from pydantic import ConfigDict, Field, TypeAdapter

from frostline._utils.files import read_bytes, reading
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_json
from frostline.config import TrainConfig
from frostline.data.registry import data_name
from frostline.errors import ConfigError, RunError, UnknownNameError, first_line, missing_package
from frostline.runs.folder import Run
from frostline.training.checkpoint import EPOCH_METRICS, Epoch

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
            mlflow = MlflowTracker(run, config, noted.get(name))
            tracker: Tracker = mlflow
            note = mlflow.run_id
        else:
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


class MlflowTracker:
    """One MLflow run: its experiment is called like the data set, it itself like the run.

    Parameters
    ----------
    run : Run
    config : TrainConfig
        Becomes the parameters.
    run_id : str, optional
        The MLflow run to go on with; a new one where the store does not know it.
    """

    def __init__(self, run: Run, config: TrainConfig, run_id: str | None) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read while mlflow is imported
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        folder = run.folder.parent.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder / 'mlruns.db'}")
        self.run_id = run_id if run_id and self._knows(run_id) else self._new_run(run, config, None if uri else folder)
        self._client.update_run(self.run_id, status="RUNNING")
        settings = config.model_dump(mode="json", exclude_none=True)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
        self._client.log_batch(self.run_id, params=[Param(name, text) for name, text in texts.items()])
        self._last = max(
            (entry.step for entry in self._client.get_metric_history(self.run_id, EPOCH_METRICS[0])), default=0
        )

    def _knows(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _new_run(self, run: Run, config: TrainConfig, folder: os.PathLike[str] | None) -> str:
        name = data_name(config.data)
        known = self._client.get_experiment_by_name(name)
        place = os.path.join(folder, "mlartifacts") if folder else None  # noqa: PTH118
        experiment = known.experiment_id if known else self._client.create_experiment(name, artifact_location=place)
        tags = {"frostline.folder": str(run.folder.resolve())}
        return str(self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Keep the epochs that are new, step by epoch."""
        for epoch in history:
            if epoch.epoch > self._last:
                self._log({name: getattr(epoch, name) for name in EPOCH_METRICS}, epoch.epoch)
                self._last = epoch.epoch

    def results(self, results: dict[str, float], step: int) -> None:
        """Keep what is not there yet, at the last step."""
        there = self._client.get_run(self.run_id).data.metrics
        self._log({name: value for name, value in results.items() if name not in there}, step)

    def close(self, status: str) -> None:
        """Mark how it ended."""
        self._client.set_terminated(self.run_id, status)

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)  # ms
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in values.items()])


HEADER, FOOTER = 12, 4  # bytes around an event: its length (8) and checksum, the event's checksum


class EventFiles:
    """A folder of event files: a new one each time a run goes on, with the steps that the others lack.

    Parameters
    ----------
    folder : Path
    config : TrainConfig
        Kept as text.
    resumed : bool
        Go on with what earlier files of the folder hold.
    """

    def __init__(self, folder: Path, config: TrainConfig, *, resumed: bool) -> None:
        from tensorboardX import SummaryWriter

        there = set(scalars(folder)) if resumed else set()
        self._last = max((step for name, step, _ in there if name == EPOCH_METRICS[0]), default=0)
        self._results = {name for name, _, _ in there} - set(EPOCH_METRICS)
        number = len(list(folder.glob("events.*")))  # two within a second must not have one name
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{number}.frostline")  # by that name they are ours
        if not number:
            settings = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
            self._writer.add_text("config.toml", f"```\n{settings}```", 0)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Keep the epochs that are new, step by epoch."""
        for epoch in history:
            if epoch.epoch > self._last:
                for name in EPOCH_METRICS:
                    self._writer.add_scalar(name, getattr(epoch, name), epoch.epoch)
                self._last = epoch.epoch
        self._writer.flush()

    def results(self, results: dict[str, float], step: int) -> None:
        """Keep what is not there yet, at the last step."""
        for name, value in results.items():
            if name not in self._results:
                self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        """Write what is left."""
        self._writer.close()


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield (name, step, value) of all event files of a folder; a truncated event at the end of a file is left out.

    TensorBoardX has no reader, and TensorBoard's is in a package that ``frostline[track]`` does not install.
    """
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data, place = path.read_bytes(), 0
        while place + HEADER <= len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            if place + HEADER + length + FOOTER > len(data):
                break
            event = Event.FromString(data[place + HEADER : place + HEADER + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value
            place += HEADER + length + FOOTER
