"""The run folder: what a run leaves behind, and who may write there.

runs/NAME/
  config.toml    re-runs the same run       data.json      which pictures it was begun with
  history.csv    one line per epoch
  metrics.json   the results; written last  curves.png, confusion.png
  model/         the deployable bundle      log.txt        what was said, with times
  evidence.safetensors                      predictions, and pictures that are worth a look (`evidence.py`)
  index.safetensors                         reduced activations, to find pictures that look alike (`index.py`)
  tracking.json, tensorboard/               where it is tracked; only with --track (`tracking.py`)
  report.html                               what it learned, to look at (`frostline report`)
  bad_images.csv                            which pictures could not be read, and why; only when there are any
  checkpoint.safetensors                    only while the run is unfinished
"""

import csv
import io
import json
import logging
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from frostline.config import TrainConfig, make_config, read_config, write_config
from frostline.errors import RunError, did_you_mean, storage_error
from frostline.images.dataset import BadImage
from frostline.progress import log
from frostline.storage import clear_parts, write_bytes, write_json
from frostline.training.checkpoint import Epoch

REMEDY = "--output-dir chooses another place"
OWN_FILES = frozenset(
    {"config.toml", "data.json", "history.csv", "metrics.json", "curves.png", "confusion.png", "model", "log.txt"}
    | {"lock", "bad_images.csv", "checkpoint.safetensors", "evidence.safetensors", "index.safetensors", "report.html"}
    | {"tracking.json", "tensorboard"}
)


class Run:
    """A run folder, finished or not.

    Parameters
    ----------
    folder : path
        ``runs/NAME``.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Run('{self.folder}')"

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def begun(self) -> bool:
        """Whether a configuration was written: from then on it can be resumed."""
        return (self.folder / "config.toml").is_file()

    @property
    def finished(self) -> bool:
        """Whether the results are there; they are written last."""
        return (self.folder / "metrics.json").is_file()

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
        """Where the reduced activations lie; see `frostline.runs.index`."""
        return self.folder / "index.safetensors"

    @property
    def config(self) -> TrainConfig:
        """The settings, with everything that was chosen by the data."""
        return make_config(**read_config(self.folder / "config.toml"))

    @property
    def metrics(self) -> dict[str, Any]:
        """The results, as in ``metrics.json``.

        Raises
        ------
        RunError
            When the run is not finished.
        """
        path = self.folder / "metrics.json"
        try:
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(
                f"run '{self.name}' has no results yet: `frostline train … --name {self.name} --resume` finishes it."
            ) from error
        except (ValueError, OSError) as error:
            raise RunError(f"{path} is damaged ({error}): run it again from its config.toml.") from error
        return loaded

    @property
    def history(self) -> list[Epoch]:
        """One entry per epoch."""
        with (self.folder / "history.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [
            Epoch(int(row.pop("epoch")), row.pop("freeze"), **{name: float(value) for name, value in row.items()})
            for row in rows
        ]

    def write_history(self, history: Sequence[Epoch]) -> None:
        """Write ``history.csv``."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
        write_bytes(self.folder / "history.csv", text.getvalue().encode(), REMEDY)


def find_run(name: str, output_dir: Path) -> Run:
    """Return an existing run by its name, or by its folder's path.

    Raises
    ------
    RunError
        With the nearest match.
    """
    for folder in (output_dir / name, Path(name)):
        if Run(folder).begun:
            return Run(folder)
    known = [run.name for run in list_runs(output_dir)]
    there = f"runs there: {', '.join(known)}." if known else "there are no runs yet."
    raise RunError(f"no run '{name}' in {output_dir}: {there}{did_you_mean(name, known)}")


def list_runs(output_dir: Path) -> list[Run]:
    """Return the runs of a folder, oldest first."""
    folders = [path for path in output_dir.iterdir() if Run(path).begun] if output_dir.is_dir() else []
    return [Run(path) for path in sorted(folders, key=lambda path: ((path / "config.toml").stat().st_mtime, path.name))]


def choose_name(data: str, output_dir: Path, *, resume: bool) -> str:
    """Return the next free ``DATA-N``, or, to resume, the latest unfinished one.

    Raises
    ------
    RunError
        When there is nothing to resume.
    """
    pattern = re.compile(rf"{re.escape(data)}-(\d+)")
    if resume:
        open_runs = [run.name for run in list_runs(output_dir) if pattern.fullmatch(run.name) and not run.finished]
        if not open_runs:
            raise RunError(f"no unfinished run of {data} in {output_dir}: leave --resume out, or name it with --name.")
        return open_runs[-1]
    taken = [path.name for path in output_dir.iterdir()] if output_dir.is_dir() else []
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


@contextmanager
def open_run(output_dir: Path, name: str, *, overwrite: bool, resume: bool) -> Iterator[Run]:
    """Hold a run folder alone: a new one, one to be resumed, or one to be overwritten.

    Raises
    ------
    RunError
        When the name is taken, or another process is writing there.
    StorageError
        When the folder cannot be written.
    """
    check_name(name)
    run = Run(output_dir / name)
    _refuse_taken(run, overwrite=overwrite, resume=resume)
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.folder / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is writing run '{name}': wait for it, or choose another --name.") from error
    except OSError as error:
        raise storage_error(error, run.folder, REMEDY) from error
    try:
        _refuse_taken(run, overwrite=overwrite, resume=resume)  # it may have begun while we looked
        clear_parts(run.folder)
        clear_parts(run.model_folder)
        with log_file(run.folder / "log.txt"):
            yield run
    except BaseException:
        if not run.begun:  # a start that failed leaves no folder behind
            _remove_own(run, OWN_FILES)
            with suppress(OSError):
                run.folder.rmdir()
        raise
    finally:
        lock.release()


def _refuse_taken(run: Run, *, overwrite: bool, resume: bool) -> None:
    foreign = {path.name for path in run.folder.iterdir()} - OWN_FILES if run.folder.is_dir() else set()
    foreign = {name for name in foreign if not name.endswith(".part")}
    if foreign and not run.begun:
        raise RunError(f"{run.folder} exists and is no run (it holds {sorted(foreign)[0]}): choose another --name.")
    if run.begun and not (overwrite or resume):
        state = "finished" if run.finished else "unfinished"
        raise RunError(
            f"run '{run.name}' exists ({state}): choose another --name, --resume to go on with it, "
            "or --overwrite to replace it."
        )


def begin(run: Run, config: TrainConfig, data: dict[str, Any]) -> None:
    """Write the settings and the data's digests into an open run folder; what is overwritten goes only now.

    Raises
    ------
    StorageError
    """
    _remove_own(run, OWN_FILES - {"lock", "log.txt"})
    write_json(run.folder / "data.json", data, REMEDY)
    write_config(config, run.folder / "config.toml")


def write_bad_images(run: Run, bad: Sequence[BadImage]) -> None:
    """Write which pictures are left out, and why; nothing when there are none.

    Raises
    ------
    StorageError
    """
    path = run.folder / "bad_images.csv"
    if not bad:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([image.path, image.reason] for image in bad)
    write_bytes(path, text.getvalue().encode(errors="surrogateescape"), REMEDY)
    log.info("what is left out: see %s", path)


def _remove_own(run: Run, names: frozenset[str]) -> None:
    for path in run.folder.iterdir():
        if path.name in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Write the library's log lines, with times, to a file as well."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise storage_error(error, path, REMEDY) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.setLevel(logging.INFO)
    level = log.level
    if log.getEffectiveLevel() > logging.INFO:
        log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()
