"""A search for better settings: trials of short trainings on kept activations, judged by the validation split.

OUTPUT/
  settings.json    what was asked for; the search goes on with it
  study.db         Optuna's study (SQLite): every trial, written as it goes
  config.toml      the best settings, complete: `frostline train --config` runs them
  trials.csv       one line per trial
  importance.png, summary.txt
  log.txt          what was said, with times
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from frostline.config import TrainConfig, make_config, write_config
from frostline.device import pick_device
from frostline.errors import ConfigError, RunError, first_line, storage_error
from frostline.experiments.amounts import goes_on
from frostline.experiments.mattered import Findings, best_of, draw, find, shown, told, write_table
from frostline.experiments.space import (
    SEARCHED,
    Choice,
    Space,
    Values,
    heeded,
    make_space,
    searched_names,
    searched_settings,
    settings,
)
from frostline.experiments.study import ALL, DIVERGED, FEWER, OpenTrial, Study, Tried, check_optuna
from frostline.experiments.trial import Outcome, Trials
from frostline.images.registry import check_data, data_name, load_configured
from frostline.progress import Progress, Silent, log
from frostline.runs.choose import check_network, prepare, split
from frostline.runs.folder import check_name, log_file
from frostline.runs.learn import Material
from frostline.storage import cache_dir as cache_folder
from frostline.storage import clear_parts, write_bytes, write_json

REMEDY = "--output-dir chooses another place"
OWN_FILES = frozenset(
    {"settings.json", "study.db", "study.db-journal", "config.toml", "trials.csv", "importance.png", "summary.txt"}
    | {"log.txt", "lock"}
)


@dataclass(frozen=True)
class Wish:
    """What is asked for besides the settings.

    Attributes
    ----------
    trials : int
        How many the study has in the end, those of earlier runs included.
    seconds : float, optional
        No trial is begun after so long.
    search : tuple of str, optional
        Names of what is searched (`space.SEARCHED`).

    Raises
    ------
    ConfigError
    """

    trials: int = 50
    seconds: float | None = None
    search: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(f"--trials {self.trials}: expected 1 or more.")
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(f"--seconds {self.seconds:g}: expected more than 0.")


def tune(
    config: TrainConfig,
    wish: Wish,
    folder: Path,
    *,
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Search for settings with the best validation accuracy; the test split is not read.

    Parameters
    ----------
    config : TrainConfig
        As for `frostline.fit`; what it leaves open may be searched.
    wish : Wish
    folder : Path
        Of the search: ``tunes/NAME``.
    overwrite, resume : bool
        What to do when there is a search in it.

    Raises
    ------
    FrostlineError
        For everything the user can mend.
    """
    if overwrite and resume:
        raise ConfigError("--overwrite begins anew and --resume goes on: give one of the two.")
    check_optuna()
    check_data(config.data)
    check_network(config)
    names = searched_names(config, wish.search)
    with _open_folder(folder, overwrite=overwrite, resume=resume):
        config, names = _begin(config, names, wish.search, folder)
        trials, space, start, judges = _set_up(config, names, cache_folder(cache_dir), progress)
        study = Study(folder / "study.db", space, config.seed)
        try:
            _search(study, trials, space, start, wish, progress)
        finally:  # also when stopped: what is done is told
            findings = find(study.tried(), space, trials.amounts, judges, config.seed)
            _write(findings, trials, config, folder)
    return findings


@contextmanager
def _open_folder(folder: Path, *, overwrite: bool, resume: bool) -> Iterator[None]:
    """Hold the folder of a search alone."""
    check_name(folder.name)
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    begun = "settings.json" in there
    foreign = sorted(name for name in there - OWN_FILES if not name.endswith(".part"))
    if foreign and not begun:
        raise RunError(f"{folder} exists and is no search (it holds {foreign[0]}): choose another --name.")
    if begun and not (overwrite or resume):
        raise RunError(
            f"search '{folder.name}' exists: choose another --name, --resume to go on with it, or --overwrite it."
        )
    if resume and not begun:
        raise RunError(f"there is no search in {folder} to resume: leave --resume out, or name it with --name.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RunError(f"another process is writing search '{folder.name}': wait for it.") from error
    except OSError as error:
        raise storage_error(error, folder, REMEDY) from error
    try:
        clear_parts(folder)
        if overwrite:
            for name in OWN_FILES - {"lock", "log.txt"}:
                (folder / name).unlink(missing_ok=True)
        with log_file(folder / "log.txt"):
            yield
    except BaseException:
        if not (folder / "study.db").is_file():  # a start that failed leaves no folder behind
            for name in OWN_FILES:
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                folder.rmdir()
        raise
    finally:
        lock.release()


def _begin(
    config: TrainConfig, names: Sequence[str], search: Sequence[str] | None, folder: Path
) -> tuple[TrainConfig, tuple[str, ...]]:
    """Write down what is asked for, or return what the search was begun with, which that must not contradict."""
    path = folder / "settings.json"
    if not path.is_file():
        asked = config.model_dump(mode="json", exclude_unset=True)
        write_json(path, {"config": asked, "search": list(names)}, REMEDY)
        return config, tuple(names)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        begun, searched = make_config(**kept["config"]), tuple(kept["search"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({first_line(error)}): --overwrite begins again.") from error
    for field in config.model_fields_set:
        value, old = getattr(config, field), getattr(begun, field)
        if value != old:
            raise RunError(
                f"search '{folder.name}' was begun with {field} = {old!r}, now {value!r} is asked for: "
                "leave it out to resume, choose another --name, or --overwrite."
            )
    if search is not None and set(search) != set(searched):
        raise RunError(f"search '{folder.name}' searches {', '.join(searched)}: leave --search out to resume.")
    return begun, searched


def _set_up(
    config: TrainConfig, names: Sequence[str], cache: Path, progress: Progress | None
) -> tuple[Trials, Space, Values, int]:
    """Return what runs trials, what is searched, where it begins, and the number of pictures that judge."""
    device = pick_device(config.device)
    splits = load_configured(config, cache, progress)
    parts = split(splits, config)
    config = searched_settings(config, names)
    settled, backbone, _, preprocess = prepare(config, parts.train, cache, progress)
    space, start = make_space(names, settled, backbone)
    trials = Trials(config, Material(settled, parts, backbone, preprocess, device, cache, progress), space)
    for name, place in space.items():  # what no trial could do is refused now
        for option in place.options if isinstance(place, Choice) else ():
            trials.config(settings(space, start | {name: option}), trials.amounts[-1])
    log.info("searched: %s", ", ".join(SEARCHED[name][1] for name in space))
    log.info(
        "trials are trained on %s pictures, the best quarter of them on the next number; %s validation pictures judge",
        ", ".join(f"{number:,}" for number in trials.amounts), f"{len(parts.val):,}",
    )  # fmt: skip
    return trials, space, start, len(parts.val)


def _search(study: Study, trials: Trials, space: Space, start: Values, wish: Wish, progress: Progress | None) -> None:
    """Run trials until there are enough, or the time is over."""
    tried = study.tried()
    done, begun = len(tried), time.perf_counter()
    if done:
        log.info("%d trials are there from before", done)
    with (progress or Silent()).bar("trials", max(0, wish.trials - done), "trials") as bar:
        while len(tried) < wish.trials:
            if wish.seconds is not None and time.perf_counter() - begun > wish.seconds:
                log.info("the time is over: %d of %d trials are done", len(tried), wish.trials)
                break
            _one(study.ask(start), tried, trials, space)
            tried = study.tried()
            log.info(_line(tried[-1], wish.trials))
            bar.advance(1)
            best = best_of(tried)
            bar.note(f"best {max(best.accuracies.values()):.4f}" if best else "")
    log.info("%d trials in %.1f s on %s", len(tried) - done, time.perf_counter() - begun, trials.device)


def _one(trial: OpenTrial, tried: Sequence[Tried], trials: Trials, space: Space) -> None:
    """Train with one set of values, on more and more pictures for as long as it is among the best."""
    changes = settings(space, trial.values)
    try:
        for pictures in trials.amounts:
            try:
                outcome = trials.run(changes, pictures)
            except ConfigError as error:  # the values were checked before: the loss is no longer a number
                log.info("trial %d: %s", trial.number, error)
                trial.report(pictures, Outcome(0.0, 0, 0.0))
                return trial.end(DIVERGED, 0.0)
            trial.report(pictures, outcome)
            others = [one.accuracies[pictures] for one in tried if pictures in one.accuracies]
            if pictures == trials.amounts[-1]:
                return trial.end(ALL, outcome.accuracy)
            if not goes_on(outcome.accuracy, others):
                return trial.end(FEWER, outcome.accuracy)
    except BaseException:
        trial.fail()
        raise


def _line(one: Tried, trials: int) -> str:
    reached = "  ".join(f"{pictures:,}: {accuracy:.4f}" for pictures, accuracy in one.accuracies.items())
    values = "  ".join(f"{name} {shown(value)}" for name, value in heeded(one.values).items())
    return f"trial {one.number}/{trials}  {reached}  {values}  {one.seconds:.1f} s"


def _write(findings: Findings, trials: Trials, config: TrainConfig, folder: Path) -> None:
    if not findings.tried:
        return
    write_table(findings, folder / "trials.csv")
    write_bytes(folder / "summary.txt", ("\n".join(told(findings)) + "\n").encode(), REMEDY)
    if findings.shares:
        draw(findings, f"{data_name(config.data)}: what mattered", folder / "importance.png")
    best = findings.best
    if best is not None:
        changes = settings(findings.space, best.values)
        write_config(trials.config(changes, trials.amounts[-1]), folder / "config.toml")
