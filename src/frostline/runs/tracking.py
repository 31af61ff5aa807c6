"""Logging of runs to MLflow and TensorBoard; a tracker that fails never stops a run.

Tracking does not change a run, so it is not in ``config.toml``. ``runs/NAME/tracking.json`` records the trackers, which
a resumed run continues.
"""

import json
import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
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
RECORD = TypeAdapter(dict[str, Annotated[str, Field(max_length=100)]], config=ConfigDict(strict=True))
NOT_LOGGED = frozenset({"per_class", "class_images", "confusion", "seed", "schema"})


class Tracker(Protocol):
    """Logs a run to another program; values that were logged before are ignored."""

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Log the new epochs."""

    def results(self, results: dict[str, float], step: int) -> None:
        """Log the final results."""

    def close(self, status: str) -> None:
        """End with status ``FINISHED``, ``FAILED`` or ``KILLED``."""


class Tracking:
    """The trackers of a run by name; one that fails is reported once and dropped."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self._trackers = trackers

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Log the history so far."""
        self._each(lambda tracker: tracker.epochs(history))

    def results(self, metrics: dict[str, Any]) -> None:
        """Log the numbers of ``metrics.json``."""
        self._each(lambda tracker: tracker.results(flat(metrics), metrics["training"]["epochs"]))

    def close(self, status: str) -> None:
        """End all trackers."""
        self._each(lambda tracker: tracker.close(status))

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._trackers.items()):
            try:
                action(tracker)
            except Exception as error:  # of any kind: the run matters more
                del self._trackers[name]
                log.warning(
                    "--track %s failed (%s) and is dropped; the run continues. `--resume --track %s` catches up.",
                    name, first_line(error), name,
                )  # fmt: skip


def split_names(names: Iterable[str]) -> list[str]:
    """Split names at commas, without repetition."""
    return list(dict.fromkeys(part.strip() for name in names for part in name.split(",") if part.strip()))


def choose_trackers(requested: Iterable[str], run: Run, *, resumed: bool) -> list[str]:
    """Return the requested trackers and, for a resumed run, those that it was started with.

    Raises ConfigError when a name is unknown, its package is missing, or ``FROSTLINE_OFFLINE=1`` forbids its address.
    """
    names = split_names([*requested, *(_recorded(run) if resumed else {})])
    for name in names:
        if name not in PACKAGES:
            raise UnknownNameError("tracker", name, PACKAGES)
        if find_spec(PACKAGES[name]) is None:
            raise missing_package(f"--track {name}", PACKAGES[name], "track")
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if "mlflow" in names and uri.startswith("http") and os.environ.get("FROSTLINE_OFFLINE") == "1":
        raise ConfigError(
            f"--track mlflow would connect to {uri}, and FROSTLINE_OFFLINE=1 forbids it: unset one of the two."
        )
    return names


@contextmanager
def tracked(names: Sequence[str], run: Run, config: TrainConfig) -> Iterator[Tracking]:
    """Track a run inside the block.

    Raises RunError when a tracker cannot start.
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
    recorded = _recorded(run)
    if (run.folder / "tensorboard").is_symlink():
        raise RunError(f"{run.folder / 'tensorboard'} is a symbolic link: move it away, or leave --track out.")
    tracker: Tracker
    try:
        if name == "mlflow":
            tracker = MlflowTracker(run, config, recorded.get(name))
            place = tracker.run_id
        else:
            tracker, place = EventFiles(run.folder / "tensorboard", config, resumed=name in recorded), "tensorboard"
    except Exception as error:
        raise RunError(
            f"--track {name} cannot start ({first_line(error)}): fix it, or leave it out; "
            f"`--resume --name {run.name}` continues."
        ) from error
    write_json(_record_path(run), recorded | {name: place}, OTHER_OUTPUT_DIR)
    return tracker


def _record_path(run: Run) -> Path:
    return run.folder / "tracking.json"


def _recorded(run: Run) -> dict[str, str]:
    """Return the places where a run is tracked; not in the manifest, as a finished run may be tracked, too."""
    path = _record_path(run)
    if not os.path.lexists(path):
        return {}
    with reading(path, RunError, "remove it to track the run from the start"):
        return RECORD.validate_json(read_bytes(path))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the scalars of ``metrics.json`` by dotted name, such as ``test.accuracy``."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if name in NOT_LOGGED:
            continue
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[prefix + name] = float(value)
        elif name == "accuracy_ci95":
            found |= {f"{prefix}{name}.low": value[0], f"{prefix}{name}.high": value[1]}
    return found


class MlflowTracker:
    """Logs to an MLflow run of the same name, in an experiment named after the data set.

    ``config`` becomes its parameters. ``run_id`` is the MLflow run to continue; if the store has no such run, a new one
    is made.
    """

    def __init__(self, run: Run, config: TrainConfig, run_id: str | None) -> None:
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read when mlflow is imported
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        folder = run.folder.parent.resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = MlflowClient(uri or f"sqlite:///{folder / 'mlruns.db'}")
        self.run_id = run_id if run_id and self._exists(run_id) else self._new_run(run, config, None if uri else folder)
        self._client.update_run(self.run_id, status="RUNNING")
        settings = config.model_dump(mode="json", exclude_none=True)
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settings.items()}
        self._client.log_batch(self.run_id, params=[Param(name, text) for name, text in texts.items()])
        self._last = max(
            (entry.step for entry in self._client.get_metric_history(self.run_id, EPOCH_METRICS[0])), default=0
        )

    def _exists(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return False
            raise

    def _new_run(self, run: Run, config: TrainConfig, folder: os.PathLike[str] | None) -> str:
        name = data_name(config.data)
        existing = self._client.get_experiment_by_name(name)
        artifacts = os.path.join(folder, "mlartifacts") if folder else None  # noqa: PTH118
        experiment = (
            existing.experiment_id if existing else self._client.create_experiment(name, artifact_location=artifacts)
        )
        tags = {"frostline.folder": str(run.folder.resolve())}
        return str(self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Log the new epochs, with the epoch as step."""
        for epoch in history:
            if epoch.epoch > self._last:
                self._log({name: getattr(epoch, name) for name in EPOCH_METRICS}, epoch.epoch)
                self._last = epoch.epoch

    def results(self, results: dict[str, float], step: int) -> None:
        """Log the values that are missing, at the last step."""
        logged = self._client.get_run(self.run_id).data.metrics
        self._log({name: value for name, value in results.items() if name not in logged}, step)

    def close(self, status: str) -> None:
        """Set the status."""
        self._client.set_terminated(self.run_id, status)

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)  # ms
        self._client.log_batch(self.run_id, metrics=[Metric(name, v, now, step) for name, v in values.items()])


HEADER, FOOTER = 12, 4  # bytes around an event: its length (8) and checksum, the event's checksum


class EventFiles:
    """Logs to TensorBoard event files: a new file for each start of the run, with the steps that the others lack."""

    def __init__(self, folder: Path, config: TrainConfig, *, resumed: bool) -> None:
        from tensorboardX import SummaryWriter

        logged = set(scalars(folder)) if resumed else set()
        self._last = max((step for name, step, _ in logged if name == EPOCH_METRICS[0]), default=0)
        self._results = {name for name, _, _ in logged} - set(EPOCH_METRICS)
        number = len(list(folder.glob("events.*")))  # keeps names unique within a second
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{number}.frostline")  # see `EVENT_FILES`
        if not number:
            settings = tomli_w.dumps(config.model_dump(mode="json", exclude_none=True))
            self._writer.add_text("config.toml", f"```\n{settings}```", 0)

    def epochs(self, history: Sequence[Epoch]) -> None:
        """Log the new epochs, with the epoch as step."""
        for epoch in history:
            if epoch.epoch > self._last:
                for name in EPOCH_METRICS:
                    self._writer.add_scalar(name, getattr(epoch, name), epoch.epoch)
                self._last = epoch.epoch
        self._writer.flush()

    def results(self, results: dict[str, float], step: int) -> None:
        """Log the values that are missing, at the last step."""
        for name, value in results.items():
            if name not in self._results:
                self._writer.add_scalar(name, value, step)

    def close(self, status: str) -> None:
        """Flush and close the file."""
        self._writer.close()


def scalars(folder: Path) -> Iterator[tuple[str, int, float]]:
    """Yield (name, step, value) of all event files of a folder, except truncated events at the end of a file.

    TensorBoardX has no reader, and ``frostline[track]`` does not install TensorBoard.
    """
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        data, offset = path.read_bytes(), 0
        while offset + HEADER <= len(data):
            (length,) = struct.unpack_from("<Q", data, offset)
            if offset + HEADER + length + FOOTER > len(data):
                break
            event = Event.FromString(data[offset + HEADER : offset + HEADER + length])
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield value.tag, event.step, value.simple_value
            offset += HEADER + length + FOOTER
