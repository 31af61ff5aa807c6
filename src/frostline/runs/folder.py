"""The run folder: what a run leaves behind, and who may write there.

runs/NAME/
  manifest.json  marks the folder as a run, and lists the files that are read again, with digests; written last
  config.toml    re-runs the same run       data.json      what it was begun with: images, weights
  history.csv    one line per epoch
  metrics.json   the results; written last  curves.png, confusion.png
  model/         the deployable bundle      log.txt        what was said, with times
  evidence.safetensors                      predictions, and images that are worth a look (`evidence.py`)
  index.safetensors                         reduced activations, to find images that look alike (`index.py`)
  tracking.json, tensorboard/               where it is tracked; only with --track (`tracking.py`)
  report.html                               what it learned, to look at (`frostline report`)
  bad_images.csv                            which images could not be read, and why; only when there are any
  checkpoint.safetensors                    only while the run is unfinished
"""

import csv
import io
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from frostline._utils.files import MAX_TEXT_BYTES, MIB, parse_json, read_bytes, reading
from frostline._utils.hashing import digest_json
from frostline._utils.manifest import MANIFEST, read_manifest
from frostline._utils.output_folder import Claim, OutputFolder
from frostline._utils.progress import LogTarget, listening, log
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline._utils.text import csv_text, html_table, printable
from frostline.config import TrainConfig, parse_config, write_config
from frostline.data.dataset import BadImage
from frostline.errors import ConfigError, RunError, did_you_mean, storage_error
from frostline.runs.schemas import BeginRecord, Results, same_images, same_settings
from frostline.training.checkpoint import Epoch

AGAIN = "run it again from its config.toml"
ANEW = "a changed one is for a new run, with --config"
BUNDLE = "model"  # the folder of the deployable model
BUNDLE_FILES = ("model.json", "model.safetensors", "MODEL_CARD.md", MANIFEST)
BEGIN_FILES = ("config.toml", "data.json")
# What is checked when it is read; the bundle's own manifest lists the rest of it.
LISTED_FILES = (
    *BEGIN_FILES, "history.csv", "metrics.json", "evidence.safetensors", "index.safetensors", "bad_images.csv",
    f"{BUNDLE}/{MANIFEST}",
)  # fmt: skip
REPLACED_FILES = (
    *LISTED_FILES, "curves.png", "confusion.png", "report.html", "tracking.json", "checkpoint.safetensors", "log.txt",
    *(f"{BUNDLE}/{name}" for name in BUNDLE_FILES),
)  # fmt: skip
EVENT_FILES = "tensorboard/events.out.tfevents.*.frostline"
MAX_RESULTS_BYTES = 256 * MIB  # a confusion matrix of thousands of classes

EPOCH_COLUMNS = [field.name for field in fields(Epoch)]

State = Literal["none", "marked", "unfinished", "finished", "damaged"]


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
        """Return a run that was begun, by its name or its folder.

        Parameters
        ----------
        run : path
            A name in ``output_dir``, or the path of a run's folder.
        output_dir : path
            The folder that holds the runs.

        Raises
        ------
        RunError
            When there is no such run, with the nearest match.
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
        """What is shown of it; what cannot be read is left out."""
        facts: dict[str, object] = {"state": self.state}
        with suppress(RunError):
            if self.begun:
                facts |= {"data": self.config.data, "model": self.config.model}
            if self.finished:
                name = "val" if self.metrics["test"] is None else "test"
                facts["result"] = f"{name} accuracy {self.metrics[name]['accuracy']:.4f}"
        return facts

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def output(self) -> OutputFolder:
        """The folder as an output, to claim it."""
        return OutputFolder(
            f"run '{self.name}'", "choose another --name", self.folder, "run",
            (*REPLACED_FILES, *_event_files(self.folder)), OTHER_OUTPUT_DIR, _made_earlier,
        )  # fmt: skip

    @property
    def state(self) -> State:
        """How far it came.

        ``none`` where there is no run, ``marked`` when it was stopped before its settings were written (its name is
        free), ``damaged`` when its manifest cannot be read.
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
        """Whether its settings were written: from then on its name is taken."""
        return self.state not in ("none", "marked")

    @property
    def finished(self) -> bool:
        """Whether everything is there."""
        return self.state == "finished"

    @property
    def identity(self) -> str:
        """Digest of the settings and images that it was begun with; empty for runs of versions without a manifest.

        Raises
        ------
        RunError
            When the manifest is damaged.
        """
        manifest = read_manifest(self.folder, AGAIN)
        return "" if manifest is None else digest_json({name: manifest.files.get(name) for name in BEGIN_FILES})

    @property
    def model_folder(self) -> Path:
        """Where the bundle lies."""
        return self.folder / "model"

    @property
    def checkpoint(self) -> Path:
        """Where the state of training lies while the run is unfinished."""
        return self.folder / "checkpoint.safetensors"

    @property
    def evidence(self) -> Path:
        """Where the predictions lie; see `frostline.runs.evidence`."""
        return self.folder / "evidence.safetensors"

    @property
    def index(self) -> Path:
        """Where the reduced activations lie; see `frostline.runs.embedding_index`."""
        return self.folder / "index.safetensors"

    def has(self, name: str) -> bool:
        """Whether there is anything of that name."""
        return os.path.lexists(self.folder / name)

    def read(self, name: str, most: int = MAX_TEXT_BYTES, remedy: str = AGAIN) -> bytes:
        """Return the content of one of its files, checked against the manifest.

        The files of runs without a manifest, which earlier versions made, are read with a warning.

        Parameters
        ----------
        name : str
            Relative to the folder.
        most : int
            Bytes that it may have.
        remedy : str
            What the user can do when it is not as it should be.

        Raises
        ------
        RunError
            When it is missing, no regular file, too large, or not the file that Frostline wrote.
        """
        manifest = read_manifest(self.folder, remedy)
        if manifest is not None:
            return manifest.read(name, most)
        with reading(self.folder / name, RunError, remedy):
            data = read_bytes(self.folder / name, most)
        warn_unverified(self.folder)
        return data

    @property
    def config(self) -> TrainConfig:
        """The settings, with everything that was chosen by the data.

        Raises
        ------
        RunError
            When ``config.toml`` is missing, damaged, or not as the run wrote it.
        """
        path, data = self.folder / "config.toml", self.read("config.toml", remedy=ANEW)
        with reading(path, RunError, AGAIN):
            values = parse_config(data)
        try:
            return TrainConfig(**values)
        except ConfigError as error:
            raise RunError(f"{path}: {error}") from error

    @property
    def begin_record(self) -> BeginRecord:
        """What it was begun with, as in ``data.json``.

        Raises
        ------
        RunError
        """
        data = self.read("data.json")
        with reading(self.folder / "data.json", RunError, AGAIN):
            return BeginRecord.model_validate_json(data)

    @property
    def metrics(self) -> dict[str, Any]:
        """The results, as in ``metrics.json``.

        Raises
        ------
        RunError
            When the run is not finished, or they are damaged or another run's.
        """
        if self.state in ("none", "marked", "unfinished"):
            unlisted = f" ({MANIFEST} does not list the metrics.json that is there)" if self.has("metrics.json") else ""
            raise RunError(
                f"run '{self.name}' has no results yet{unlisted}: "
                f"`frostline train … --name {self.name} --resume` finishes it."
            )
        path, data = self.folder / "metrics.json", self.read("metrics.json", MAX_RESULTS_BYTES)
        with reading(path, RunError, AGAIN):
            results = _results(data)
        if not self.has(MANIFEST):
            self._compare(results)
        return results

    def _compare(self, results: dict[str, Any]) -> None:
        """Refuse results that do not agree with the other files, for want of a manifest."""
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
        data = self.read("history.csv")
        with reading(self.folder / "history.csv", RunError, AGAIN):
            table = csv.DictReader(io.StringIO(data.decode(), newline=""))
            epochs = TypeAdapter(list[Epoch]).validate_python(list(table))
            if table.fieldnames != EPOCH_COLUMNS or [line.epoch for line in epochs] != list(range(1, len(epochs) + 1)):
                raise ValueError("it is no table of epochs")
        return epochs

    def write_history(self, history: Sequence[Epoch]) -> None:
        """Write ``history.csv``."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, EPOCH_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
        write_bytes(self.folder / "history.csv", text.getvalue().encode(), OTHER_OUTPUT_DIR)


def _results(data: bytes) -> dict[str, Any]:
    Results.model_validate_json(data)
    return dict(parse_json(data))


@cache
def warn_unverified(folder: Path) -> None:
    """Say once that the files of a folder cannot be checked."""
    log.warning("%s has no %s (an earlier version made it): its files were not verified", folder, MANIFEST)


def _earlier_state(folder: Path) -> State:
    """Return the state of a run that has no manifest."""
    there = {name for name in ("config.toml", "data.json", "metrics.json") if os.path.lexists(folder / name)}
    if "config.toml" in there and len(there) > 1:
        return "finished" if "metrics.json" in there else "unfinished"
    return "finished" if "metrics.json" in there and _made_earlier(folder) else "none"


def _made_earlier(folder: Path) -> bool:
    """Whether a folder without a manifest is a run of an earlier version: by what its files say, not by their names."""
    for name, fits in (("data.json", BeginRecord.model_validate_json), ("metrics.json", _results)):
        try:
            with reading(folder / name, RunError, AGAIN):
                fits(read_bytes(folder / name, MAX_RESULTS_BYTES))
        except RunError:
            continue
        return True
    return False


def list_runs(output_dir: Path) -> list[Run]:
    """Return the runs of a folder, oldest first; one that cannot be looked into is named and left out.

    Raises
    ------
    StorageError
        When the folder itself cannot be read.
    """
    found = []
    for path in _entries(output_dir):
        try:
            if path.is_dir() and os.listdir(path) and Run(path).begun:  # noqa: PTH208
                found.append((_begun_at(path), path.name))
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


def _begun_at(folder: Path) -> float:
    path = folder / "config.toml"
    return (path if os.path.lexists(path) else folder).lstat().st_mtime


def choose_name(data: str, output_dir: Path, *, resume: bool) -> str:
    """Return the next free ``DATA-N``, or, to resume, the latest unfinished one.

    Raises
    ------
    RunError
        When there is nothing to resume.
    """
    pattern = re.compile(rf"{re.escape(data)}-(\d+)")
    if resume:
        runs = [run for run in list_runs(output_dir) if pattern.fullmatch(run.name)]
        open_runs = [run.name for run in runs if run.state == "unfinished"]
        if not open_runs:
            raise RunError(f"no unfinished run of {data} in {output_dir}: leave --resume out, or name it with --name.")
        return open_runs[-1]
    taken = [path.name for path in _entries(output_dir)]
    numbers = [int(match[1]) for name in taken if (match := pattern.fullmatch(name))]
    return f"{data}-{max(numbers, default=0) + 1}"


def check_name(name: str) -> None:
    """Refuse names that are no plain folder name.

    Raises
    ------
    RunError
    """
    if not re.fullmatch(r"[\w][\w .+-]{0,99}", name):
        raise RunError(f"--name '{name}': expected up to 100 letters, digits, '-', '_', '.' or '+'.")


class OpenRun(Run):
    """A run folder that this process alone may write to.

    Parameters
    ----------
    folder : Path
    claim : Claim
    log_file : LogFile
        Holds the log lines so far.
    """

    def __init__(self, folder: Path, claim: Claim, log_file: "LogFile") -> None:
        super().__init__(folder)
        self._claim, self._log_file = claim, log_file

    def begin(self, config: TrainConfig, record: Mapping[str, Any]) -> None:
        """Write the settings and the record of images and weights (`BeginRecord`), in place of an earlier run's files.

        Raises
        ------
        StorageError
        """
        self._claim.keep()
        output = self.output
        output.mark()  # the earlier files are not listed from now on
        output.remove(output.names)
        self._log_file.write_to(self.folder / "log.txt")
        write_json(self.folder / "data.json", record, OTHER_OUTPUT_DIR)
        write_config(config, self.folder / "config.toml")
        output.mark(BEGIN_FILES)

    def go_on(self) -> None:
        """Continue where an earlier process stopped.

        Raises
        ------
        StorageError
        """
        self._claim.keep()
        self._log_file.write_to(self.folder / "log.txt")

    def complete(self) -> None:
        """List every file in the manifest, and mark the run as finished.

        Raises
        ------
        StorageError
        """
        before = read_manifest(self.folder, AGAIN)
        known = {name: before.files[name] for name in BEGIN_FILES if name in before.files} if before else {}
        self.output.mark(LISTED_FILES, complete=True, known=known)
        self.remove_checkpoint()

    def remove_checkpoint(self) -> None:
        """Remove the state of training, which a finished run does not need.

        Raises
        ------
        StorageError
        """
        self.output.remove([self.checkpoint.name])


def _event_files(folder: Path) -> list[str]:
    """Return the names of the event files for TensorBoard that Frostline wrote."""
    return [path.relative_to(folder).as_posix() for path in folder.glob(EVENT_FILES)]


@contextmanager
def open_run(output_dir: Path, name: str, *, overwrite: bool, resume: bool) -> Iterator[OpenRun]:
    """Claim a run folder: a new one, one to be resumed, or one to be overwritten.

    A start that fails before `OpenRun.begin` removes the files that it made, and no others.

    Raises
    ------
    RunError
        When the name is taken, by a run or anything else, or another process is writing there.
    StorageError
        When the folder cannot be written.
    """
    check_name(name)
    run = Run(output_dir / name)
    _refuse_taken(run, overwrite=overwrite, resume=resume)
    with run.output.claim() as claim, _log_lines() as lines:
        _refuse_taken(run, overwrite=overwrite, resume=resume)  # it may have begun before the lock was taken
        yield OpenRun(run.folder, claim, lines)


def _refuse_taken(run: Run, *, overwrite: bool, resume: bool) -> None:
    state = run.state
    if state in ("finished", "unfinished") and not (overwrite or resume):
        raise run.output.exists_error(state)


def write_bad_images(run: Run, bad: Sequence[BadImage]) -> None:
    """Write which images are left out, and why; nothing when there are none.

    Raises
    ------
    StorageError
    """
    path = run.folder / "bad_images.csv"
    if not bad:
        run.output.remove([path.name])
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([csv_text(str(image.path)), csv_text(image.reason)] for image in bad)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), OTHER_OUTPUT_DIR)
    log.info("what is left out: see %s", path)


class LogFile(logging.handlers.MemoryHandler):
    """Holds the library's log lines until there is a file for them."""

    def __init__(self) -> None:
        super().__init__(capacity=sys.maxsize, flushLevel=sys.maxsize)
        self.setLevel(logging.INFO)

    def write_to(self, path: Path) -> None:
        """Write the lines so far and those to come, with times, at the end of a file.

        Raises
        ------
        StorageError
        """
        try:
            target = LogTarget(path)
        except OSError as error:
            raise storage_error(error, path, OTHER_OUTPUT_DIR) from error
        self.setTarget(target)
        self.flush()
        self.capacity = 1

    def close(self) -> None:
        """Close the file, too."""
        target = self.target
        super().close()
        if target is not None:
            target.close()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write the library's log lines, with times, to a file as well."""
    with _log_lines() as lines:
        lines.write_to(path)
        yield


@contextmanager
def _log_lines() -> Iterator[LogFile]:
    lines = LogFile()
    try:
        with listening(lines):
            yield lines
    finally:
        lines.close()
