"""The run folder: its files, and reading a run (`frostline.runs.writer` writes one).

runs/NAME/
  manifest.json  marks the folder as a run and lists, with digests, the files that are read again; written last
  config.toml    settings; repeats the run  data.json      images and weights at the start
  history.csv    one line per epoch         metrics.json   results; written last
  curves.png, confusion.png                 log.txt        log lines with times
  model/                                    the deployable bundle (`frostline.runs.bundle`)
  evidence.safetensors                      predictions and thumbnails of test images (`frostline.runs.evidence`)
  index.safetensors                         reduced features, for similar images (`frostline.runs.embedding_index`)
  sample.safetensors                        validation images, to check exports (`frostline.runs.sample`)
  tracking.json, tensorboard/               only with --track (`frostline.runs.tracking`)
  report.html                               the report (`frostline report`)
  bad_images.csv                            unreadable images and why; only if there are any
  checkpoint.safetensors                    only while the run is unfinished
"""

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from frostline._utils.files import MAX_TEXT_BYTES, MIB, parse_json, read_bytes, reading
from frostline._utils.hashing import digest_json
from frostline._utils.manifest import MANIFEST, read_manifest
from frostline._utils.output_folder import OutputFolder
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT_DIR
from frostline._utils.text import html_table, printable
from frostline.config import EARLIER_DEFAULTS, TrainConfig, parse_config
from frostline.errors import ConfigError, RunError, did_you_mean, storage_error
from frostline.runs.schemas import BeginRecord, Results, same_images, same_settings
from frostline.training.checkpoint import Epoch

AGAIN = "run it again from its config.toml"
BUNDLE = "model"  # folder of the deployable model
BUNDLE_FILES = ("model.json", "model.safetensors", "MODEL_CARD.md", MANIFEST)
BEGIN_FILES = ("config.toml", "data.json")
# Checked when read; the bundle's own manifest lists its other files.
LISTED_FILES = (
    *BEGIN_FILES, "history.csv", "metrics.json", "evidence.safetensors", "index.safetensors",
    "sample.safetensors", "bad_images.csv", f"{BUNDLE}/{MANIFEST}",
)  # fmt: skip
REPLACED_FILES = (
    *LISTED_FILES, "curves.png", "confusion.png", "report.html", "tracking.json", "checkpoint.safetensors", "log.txt",
    *(f"{BUNDLE}/{name}" for name in BUNDLE_FILES),
)  # fmt: skip
EVENT_FILES = "tensorboard/events.out.tfevents.*.frostline"
MAX_RESULTS_BYTES = 256 * MIB  # a confusion matrix of thousands of classes

EPOCH_COLUMNS = [field.name for field in fields(Epoch)]

State = Literal["none", "marked", "unfinished", "finished", "damaged"]
T = TypeVar("T")


class Run:
    """A run folder, finished or not.

    Parameters
    ----------
    folder : path
        ``runs/NAME``.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def load(cls, run: Path | str, output_dir: Path | str = "runs") -> "Run":
        """Return an existing run by its name or its folder.

        Parameters
        ----------
        run : path
            A name in ``output_dir``, or the path of a run folder.
        output_dir : path
            The folder of the runs.

        Raises
        ------
        RunError
            When there is no such run; the message suggests the nearest name.
        """
        for folder in (Path(output_dir, run), Path(run)):
            if str(run) and Run(folder).begun:
                return Run(folder)
        known = [known.name for known in list_runs(Path(output_dir))]
        there = f"runs there: {', '.join(known)}." if known else "there are no runs yet."
        raise RunError(f"no run '{run}' in {output_dir}: {there}{did_you_mean(str(run), known)}")

    def __repr__(self) -> str:
        return printable(f"Run('{self.folder}', {', '.join(map(str, self._facts.values()))})")

    def _repr_html_(self) -> str:
        return html_table(f"Run {self.name}", {"folder": self.folder} | self._facts)

    @property
    def _facts(self) -> dict[str, object]:
        """State, data, model and result, as far as they can be read."""
        facts: dict[str, object] = {"state": self.state}
        with suppress(RunError):
            if self.begun:
                facts |= {"data": self.config.data, "model": self.config.model}
            if self.finished:
                name = self._final_split
                facts["result"] = f"{name} accuracy {self.metrics[name]['accuracy']:.4f}"
        return facts

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def output(self) -> OutputFolder:
        """The folder as an output of a command."""
        events = [path.relative_to(self.folder).as_posix() for path in self.folder.glob(EVENT_FILES)]
        return OutputFolder(
            f"run '{self.name}'", "choose another --name", self.folder, "run", (*REPLACED_FILES, *events),
            OTHER_OUTPUT_DIR, _made_earlier,
        )  # fmt: skip

    @property
    def state(self) -> State:
        """State of the run.

        ``none`` without a run, ``marked`` if it was stopped before its settings were written (its name is free),
        ``damaged`` if its manifest cannot be read.
        """
        if not os.path.lexists(self.folder / MANIFEST):
            return _earlier_state(self.folder)
        try:
            manifest = read_manifest(self.folder)
        except RunError:
            return "none" if _earlier_state(self.folder) == "none" else "damaged"
        if manifest is None or manifest.kind != "run":
            return "none"
        if manifest.complete:
            return "finished"
        return "unfinished" if "config.toml" in manifest.files else "marked"

    @property
    def begun(self) -> bool:
        """Whether its settings were written, so that its name is taken."""
        return self.state not in ("none", "marked")

    @property
    def finished(self) -> bool:
        """Whether every file was written."""
        return self.state == "finished"

    @property
    def identity(self) -> str:
        """Digest of its settings and images; empty for runs of versions without a manifest.

        Raises RunError when the manifest is damaged.
        """
        manifest = read_manifest(self.folder, AGAIN)
        return "" if manifest is None else digest_json({name: manifest.files.get(name) for name in BEGIN_FILES})

    @property
    def model_folder(self) -> Path:
        """Folder of the bundle."""
        return self.folder / BUNDLE

    @property
    def checkpoint(self) -> Path:
        """File of the training state while the run is unfinished."""
        return self.folder / "checkpoint.safetensors"

    @property
    def evidence(self) -> Path:
        """File of the predictions; see `frostline.runs.evidence`."""
        return self.folder / "evidence.safetensors"

    @property
    def index(self) -> Path:
        """File of the reduced features; see `frostline.runs.embedding_index`."""
        return self.folder / "index.safetensors"

    @property
    def sample(self) -> Path:
        """File of some validation images; see `frostline.runs.sample`."""
        return self.folder / "sample.safetensors"

    def has(self, name: str) -> bool:
        """Whether something of that name exists in the folder."""
        return os.path.lexists(self.folder / name)

    def read(self, name: str, most: int = MAX_TEXT_BYTES, remedy: str = AGAIN) -> bytes:
        """Return the content of a file, checked against the manifest.

        Files of runs without a manifest (earlier versions) are read with a warning.

        Parameters
        ----------
        name : str
            Relative to the folder.
        most : int
            Largest accepted size in bytes.
        remedy : str
            What the user can do if the file is missing or damaged.

        Raises
        ------
        RunError
            When it is missing, not a regular file, too large, or not the file that Frostline wrote.
        """
        manifest = read_manifest(self.folder, remedy)
        if manifest is not None:
            return manifest.read(name, most)
        with reading(self.folder / name, RunError, remedy):
            data = read_bytes(self.folder / name, most)
        warn_unverified(self.folder)
        return data

    def parse(self, name: str, parser: Callable[[bytes], T], most: int = MAX_TEXT_BYTES, remedy: str = AGAIN) -> T:
        """Read a file as `read` does, and return what ``parser`` makes of its content.

        Raises RunError also when ``parser`` raises.
        """
        data = self.read(name, most, remedy)
        with reading(self.folder / name, RunError, AGAIN):
            return parser(data)

    @property
    def config(self) -> TrainConfig:
        """Settings, including those that were resolved from the data.

        Raises
        ------
        RunError
            When ``config.toml`` is missing, damaged or edited.
        """
        values = self.parse("config.toml", parse_config, remedy="to change settings, start a new run with --config")
        try:
            return TrainConfig(**EARLIER_DEFAULTS | values)
        except ConfigError as error:
            raise RunError(f"{self.folder / 'config.toml'}: {error}") from error

    @property
    def begin_record(self) -> BeginRecord:
        """Images and weights at the start, as in ``data.json``."""
        return self.parse("data.json", BeginRecord.model_validate_json)

    @property
    def metrics(self) -> dict[str, Any]:
        """Results, as in ``metrics.json``.

        Raises
        ------
        RunError
            When the run is not finished, or they are damaged or belong to another run.
        """
        if self.state in ("none", "marked", "unfinished"):
            unlisted = f" ({MANIFEST} does not list its metrics.json)" if self.has("metrics.json") else ""
            raise RunError(
                f"run '{self.name}' has no results yet{unlisted}: "
                f"`frostline train … --name {self.name} --resume` finishes it."
            )
        results = self.parse("metrics.json", _results, MAX_RESULTS_BYTES)
        if not self.has(MANIFEST):
            self._check_agreement(results)
        return results

    def _check_agreement(self, results: dict[str, Any]) -> None:
        """Refuse results that contradict the other files; for runs without a manifest."""
        for name, agrees in (
            ("data.json", not self.has("data.json") or same_images(results, self.begin_record)),
            ("config.toml", not self.has("config.toml") or same_settings(results, self.config.model_dump(mode="json"))),
        ):
            if not agrees:
                raise RunError(f"{self.folder / 'metrics.json'} does not belong to its {name}: {AGAIN}.")

    @property
    def history(self) -> list[Epoch]:
        """One entry per epoch.

        Raises
        ------
        RunError
        """
        return self.parse("history.csv", _epochs)

    @property
    def _final_split(self) -> str:
        """The split that the results are about: the validation split where there is no test split."""
        return "val" if self.metrics["test"] is None else "test"

    def plot_curves(self, axes: Sequence[Any] | None = None) -> Any:
        """Plot accuracy and loss over the epochs; a head in closed form has one.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        array of two matplotlib Axes

        Raises
        ------
        RunError
            When the run is not finished, or damaged.
        """
        from frostline.runs.plots import new_axes, plot_curves

        history, best = self.history, self.metrics["training"]["best_epoch"]
        axes = new_axes((9, 3.6), columns=2) if axes is None else axes
        plot_curves(history, best, axes)
        axes[0].legend(frameon=False)
        return axes

    def plot_confusion(self, axes: Any = None) -> Any:
        """Plot the confusion matrix of the test split, or of the validation split where there is none.

        Parameters
        ----------
        axes : matplotlib Axes, optional
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib Axes

        Raises
        ------
        RunError
            When the run is not finished, or damaged.
        """
        from frostline.runs.plots import confusion_size, new_axes, plot_confusion

        split = self._final_split
        results = self.metrics[split]
        names = list(results["per_class"])
        axes = new_axes(confusion_size(len(names))) if axes is None else axes
        plot_confusion(results["confusion"], names, f"{self.name}: {split} accuracy {results['accuracy']:.4f}", axes)
        return axes

    def mistakes(self) -> list[dict[str, Any]]:
        """Return the wrong predictions on the test split, or on the validation split where there is none.

        Returns
        -------
        list of dict
            The most confident first: ``position`` in the split, ``truth``, ``predicted``, ``probability`` of the
            predicted class, ``truth_probability``, and ``file``: its name if the run shows the image in its report,
            else None. ``pandas.DataFrame(run.mistakes())`` is a table.

        Raises
        ------
        RunError
            When the run is not finished, or damaged.
        """
        from frostline.runs.evidence import read_evidence

        split = self._final_split
        return read_evidence(self).mistakes(split, list(self.metrics[split]["per_class"]))


def _results(data: bytes) -> dict[str, Any]:
    Results.model_validate_json(data)
    return dict(parse_json(data))


def _epochs(data: bytes) -> list[Epoch]:
    table = csv.DictReader(io.StringIO(data.decode(), newline=""))
    epochs = TypeAdapter(list[Epoch]).validate_python(list(table))
    if table.fieldnames != EPOCH_COLUMNS or [line.epoch for line in epochs] != list(range(1, len(epochs) + 1)):
        raise ValueError("not a table of epochs")
    return epochs


@cache
def warn_unverified(folder: Path) -> None:
    """Warn once that the files of a folder cannot be checked."""
    log.warning("%s has no %s (an earlier version made it): its files were not verified", folder, MANIFEST)


def _earlier_state(folder: Path) -> State:
    """Return the state of a run without a manifest."""
    there = {name for name in ("config.toml", "data.json", "metrics.json") if os.path.lexists(folder / name)}
    if "config.toml" in there and len(there) > 1:
        return "finished" if "metrics.json" in there else "unfinished"
    return "finished" if "metrics.json" in there and _made_earlier(folder) else "none"


def _made_earlier(folder: Path) -> bool:
    """Whether a folder without a manifest is a run of an earlier version, by the contents of its files."""
    for name, validate in (("data.json", BeginRecord.model_validate_json), ("metrics.json", _results)):
        try:
            with reading(folder / name, RunError, AGAIN):
                validate(read_bytes(folder / name, MAX_RESULTS_BYTES))
        except RunError:
            continue
        return True
    return False


def list_runs(output_dir: Path) -> list[Run]:
    """Return the runs of a folder, oldest first; unreadable ones are left out with a warning.

    Raises StorageError when the folder itself cannot be read.
    """
    found = []
    for path in _entries(output_dir):
        try:
            if path.is_dir() and os.listdir(path) and Run(path).begun:  # noqa: PTH208
                found.append((_start_time(path), path.name))
        except OSError as error:
            log.warning("%s cannot be read (%s): left out", path, error.strerror)
    return [Run(output_dir / name) for _, name in sorted(found)]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise storage_error(error, folder, OTHER_OUTPUT_DIR) from error


def _start_time(folder: Path) -> float:
    path = folder / "config.toml"
    return (path if os.path.lexists(path) else folder).lstat().st_mtime


def choose_name(data: str, output_dir: Path, *, resume: bool) -> str:
    """Return the next free ``DATA-N``, or, to resume, the latest unfinished one.

    Raises RunError when there is nothing to resume.
    """
    pattern = re.compile(rf"{re.escape(data)}-(\d+)")
    if resume:
        runs = [run for run in list_runs(output_dir) if pattern.fullmatch(run.name)]
        unfinished = [run.name for run in runs if run.state == "unfinished"]
        if not unfinished:
            raise RunError(f"no unfinished run of {data} in {output_dir}: leave --resume out, or name it with --name.")
        return unfinished[-1]
    taken = [path.name for path in _entries(output_dir)]
    numbers = [int(match[1]) for name in taken if (match := pattern.fullmatch(name))]
    return f"{data}-{max(numbers, default=0) + 1}"


def check_name(name: str) -> None:
    """Refuse a run name that is not a plain folder name."""
    if not re.fullmatch(r"[\w][\w .+-]{0,99}", name):
        raise RunError(f"--name '{name}': expected up to 100 letters, digits, '-', '_', '.' or '+'.")
