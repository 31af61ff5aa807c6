"""A search for better settings: trials of short trainings on kept activations, judged by the validation split.

OUTPUT/
  settings.json    what was asked for; the search goes on with it
  study.db         Optuna's study (SQLite): every trial, written as it goes
  config.toml      the best settings, complete: `frostline train --config` runs them
  trials.csv       one line per trial
  importance.png, summary.txt
  log.txt          what was said, with times
  manifest.json    digests of what is read again; lock: held while a process writes
"""

import time
from collections.abc import Sequence
from os.path import lexists
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from frostline._utils.files import read_bytes, reading
from frostline._utils.manifest import Manifest, hold, read_manifest, remove_files, write_manifest
from frostline._utils.progress import Progress, Silent, log, visible
from frostline._utils.storage import write_bytes, write_json
from frostline.config import TrainConfig, write_config
from frostline.data.dataset import Splits
from frostline.data.registry import data_name
from frostline.errors import ConfigError, DivergedError, FrostlineError, RunError, storage_error
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.resolve import check, resolve
from frostline.runs.folder import check_name, log_file
from frostline.studies.halving import should_promote
from frostline.studies.importance import Findings, best_of, draw, find, format_summary, search_record, write_table
from frostline.studies.space import (
    SEARCHED,
    Choice,
    Space,
    Values,
    effective_params,
    make_space,
    searched_names,
    searched_settings,
    settings,
)
from frostline.studies.study import ALL, DIVERGED, FEWER, FinishedTrial, OpenTrial, Study, check_optuna
from frostline.studies.trial import TrialResult, Trials

REMEDY = "--output-dir chooses another place"
BEGIN_AGAIN = "--overwrite begins again"
READ_AGAIN = ("settings.json", "study.db", "config.toml")
OWN_FILES = frozenset({*READ_AGAIN, "study.db-journal", "trials.csv", "importance.png", "summary.txt", "log.txt"})


def tune(
    config: TrainConfig,
    folder: Path | str | None = None,
    *,
    trials: int = 50,
    seconds: float | None = None,
    search: Sequence[str] | None = None,
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    splits: Splits | None = None,
) -> Findings:
    """Search for settings with the best validation accuracy; the test split is not read.

    Parameters
    ----------
    config : TrainConfig
        As for `frostline.fit`; what it leaves open may be searched.
    folder : path, optional
        Of the search; ``tunes/DATA`` when left out.
    trials : int
        How many the study has in the end, those of earlier calls included.
    seconds : float, optional
        No trial is begun after so long.
    search : sequence of str, optional
        Names of what is searched (`frostline.studies.space.SEARCHED`).
    cache_dir : path, optional
        Where kept activations go.
    overwrite, resume : bool
        What to do when there is a search in it. Where none was begun, ``resume`` begins one.
    progress : Progress, optional
        Draws bars.
    splits : Splits, optional
        The data set itself; ``config.data`` is then no more than what it is called.

    Returns
    -------
    Findings
        Every trial, and the best as ``best``; the folder has its complete ``config.toml``.

    Raises
    ------
    FrostlineError
        For errors caused by user input or the environment.
    """
    progress = visible(progress)
    if trials < 1:
        raise ConfigError(f"--trials {trials}: expected 1 or more.")
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--seconds {seconds:g}: expected more than 0.")
    if overwrite and resume:
        raise ConfigError("--overwrite begins anew and --resume goes on: give one of the two.")
    check_optuna()
    check(config, splits=splits)
    names: Sequence[str] = searched_names(config, search)
    folder = Path("tunes", data_name(config.data)) if folder is None else Path(folder)
    check_name(folder.name)
    with hold(
        folder, "search", OWN_FILES, what=f"search '{folder.name}'", other="choose another --name", remedy=REMEDY,
        earlier=_earlier,
    ) as held:  # fmt: skip
        begun = None if overwrite else _begun(folder)
        if begun is not None:
            _check_same(begun, config, search, folder, resume=resume)
            config, names = begun.settings, begun.search
            held.keep()
        held.made |= {name for name in OWN_FILES if not lexists(folder / name)}
        with log_file(folder / "log.txt"):
            if resume and begun is None:
                log.info("no search was begun in %s yet: it begins now", folder)
            context = make_context(config.device, cache_dir, progress)
            runner, space, start, judges = _set_up(config, names, context, splits)
            if begun is None:  # what is overwritten goes only now
                _begin(config, names, folder)
            write_manifest(folder, "search", ["settings.json"], remedy=REMEDY)
            study = Study(folder / "study.db", space, config.seed)
            held.keep()
            try:
                _search(study, runner, space, start, trials, seconds, progress)
            finally:  # also when stopped: what is done is told
                findings = find(study.tried(), space, runner.amounts, judges, config.seed)
                _write(findings, runner, config, folder)
                write_manifest(folder, "search", READ_AGAIN, complete=True, remedy=REMEDY)
    return findings


class Begun(BaseModel):
    """What ``settings.json`` holds: what a search was begun with."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]
    search: tuple[str, ...] = Field(min_length=1)

    @property
    def settings(self) -> TrainConfig:
        """The settings, checked."""
        return TrainConfig(**self.config)


def _earlier(folder: Path) -> bool:
    """Whether a version that wrote no manifests has searched here."""
    try:
        return bool(Begun.model_validate_json(read_bytes(folder / "settings.json")).settings)
    except (OSError, ValueError, FrostlineError):
        return False


def _begun(folder: Path) -> Begun | None:
    """Return what the search in a folder was begun with; ``None`` before that was written down."""
    path = folder / "settings.json"
    manifest = read_manifest(folder, BEGIN_AGAIN) or Manifest(folder, "search", complete=False)
    if not path.exists() and "settings.json" not in manifest.files:
        return None
    with reading(path, RunError, BEGIN_AGAIN):
        begun = Begun.model_validate_json(manifest.read("settings.json"))
    if "study.db" in manifest.files:
        manifest.check("study.db")
    return begun


def _check_same(begun: Begun, config: TrainConfig, search: Sequence[str] | None, folder: Path, *, resume: bool) -> None:
    """Refuse to go on unasked, or with other settings than a search was begun with."""
    if not resume:
        raise RunError(
            f"search '{folder.name}' exists: choose another --name, --resume to go on with it, or --overwrite it."
        )
    for field in config.model_fields_set:
        value, old = getattr(config, field), getattr(begun.settings, field)
        if value != old:
            raise RunError(
                f"search '{folder.name}' was begun with {field} = {old!r}, now {value!r} is asked for: "
                "leave it out to resume, choose another --name, or --overwrite."
            )
    if search is not None and set(search) != set(begun.search):
        raise RunError(f"search '{folder.name}' searches {', '.join(begun.search)}: leave --search out to resume.")


def _begin(config: TrainConfig, names: Sequence[str], folder: Path) -> None:
    """Write down what is asked for, in place of what was there."""
    try:
        remove_files(folder, OWN_FILES - {"log.txt"})
    except OSError as error:
        raise storage_error(error, folder, REMEDY) from error
    asked = config.model_dump(mode="json", exclude_unset=True)
    write_json(folder / "settings.json", {"config": asked, "search": list(names)}, REMEDY)


def _set_up(
    config: TrainConfig, names: Sequence[str], context: Context, splits: Splits | None
) -> tuple[Trials, Space, Values, int]:
    """Return what runs trials, what is searched, where it begins, and the number of images that judge."""
    config = searched_settings(config, names)
    plan = resolve(config, context, splits)
    space, start = make_space(names, plan.config, plan.network.backbone)
    trials = Trials(config, plan, context, space)
    for name, place in space.items():  # what no trial could do is refused now
        for option in place.options if isinstance(place, Choice) else ():
            trials.config(settings(space, start | {name: option}), trials.amounts[-1])
    log.info("searched: %s", ", ".join(SEARCHED[name][1] for name in space))
    log.info(
        "trials are trained on %s images, the best quarter of them on the next number; %s validation images judge",
        ", ".join(f"{number:,}" for number in trials.amounts), f"{len(plan.splits.val):,}",
    )  # fmt: skip
    return trials, space, start, len(plan.splits.val)


def _search(
    study: Study,
    runner: Trials,
    space: Space,
    start: Values,
    trials: int,
    seconds: float | None,
    progress: Progress | None,
) -> None:
    """Run trials until there are enough, or the time is over."""
    tried = study.tried()
    done, begun = len(tried), time.perf_counter()
    if done:
        log.info("%d trials are there from before", done)
    with (progress or Silent()).bar("trials", max(0, trials - done), "trials") as bar:
        while len(tried) < trials:
            if seconds is not None and time.perf_counter() - begun > seconds:
                log.info("the time is over: %d of %d trials are done", len(tried), trials)
                break
            _one(study.ask(start), tried, runner, space)
            tried = study.tried()
            log.info(_line(tried[-1], trials))
            bar.advance(1)
            best = best_of(tried)
            bar.note(f"best {max(best.accuracies.values()):.4f}" if best else "")
    log.info("%d trials in %.1f s on %s", len(tried) - done, time.perf_counter() - begun, runner.device)


def _one(trial: OpenTrial, tried: Sequence[FinishedTrial], trials: Trials, space: Space) -> None:
    """Train with one set of values, on more and more images for as long as it is among the best."""
    changes = settings(space, trial.values)
    try:
        for images in trials.amounts:
            try:
                outcome = trials.run(changes, images)
            except DivergedError as error:
                log.info("trial %d: %s", trial.number, error)
                trial.report(images, TrialResult(0.0, 0, 0.0))
                return trial.end(DIVERGED, 0.0)
            trial.report(images, outcome)
            others = [one.accuracies[images] for one in tried if images in one.accuracies]
            if images == trials.amounts[-1]:
                return trial.end(ALL, outcome.accuracy)
            if not should_promote(outcome.accuracy, others):
                return trial.end(FEWER, outcome.accuracy)
    except BaseException:
        trial.fail()
        raise


def _line(one: FinishedTrial, trials: int) -> str:
    reached = "  ".join(f"{images:,}: {accuracy:.4f}" for images, accuracy in one.accuracies.items())
    values = "  ".join(f"{name} {search_record(value)}" for name, value in effective_params(one.values).items())
    return f"trial {one.number}/{trials}  {reached}  {values}  {one.seconds:.1f} s"


def _write(findings: Findings, trials: Trials, config: TrainConfig, folder: Path) -> None:
    if not findings.tried:
        return
    write_table(findings, folder / "trials.csv")
    write_bytes(folder / "summary.txt", ("\n".join(format_summary(findings)) + "\n").encode(), REMEDY)
    if findings.shares:
        draw(findings, f"{data_name(config.data)}: what mattered", folder / "importance.png")
    best = findings.best
    if best is not None:
        changes = settings(findings.space, best.values)
        write_config(trials.config(changes, trials.amounts[-1]), folder / "config.toml")
