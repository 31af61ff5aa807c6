"""Hyperparameter search: short trainings on cached features, evaluated on the validation split.

OUTPUT/
  settings.json    requested settings, used again when the search is resumed
  study.db         Optuna's study (SQLite) with all trials
  config.toml      complete settings of the best trial, for `frostline train --config`
  trials.csv       one line per trial
  importance.png, summary.txt
  log.txt          log messages with times
  manifest.json    digests of the files that are read again; lock is held while a process writes
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from frostline._utils.files import read_bytes, reading
from frostline._utils.manifest import Manifest, read_manifest
from frostline._utils.output_folder import START_OVER, Claim, OutputFolder, check_mode
from frostline._utils.progress import Progress, Silent, log, log_file, visible
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes, write_json
from frostline.config import EARLIER_DEFAULTS, TrainConfig, write_config
from frostline.data.dataset import Splits
from frostline.data.registry import data_name
from frostline.errors import ConfigError, DivergedError, FrostlineError, RunError
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.rank import AUTO, with_model
from frostline.pipeline.resolve import check, resolve
from frostline.runs.folder import check_name
from frostline.studies.tune_results import (
    TuneResult,
    analyze,
    best_of,
    draw,
    final_accuracy,
    format_summary,
    short_text,
    write_table,
)  # fmt: skip
from frostline.studies.tune_space import (
    SEARCHED,
    Choice,
    Space,
    Values,
    make_space,
    searched_names,
    searched_settings,
    settings,
)
from frostline.studies.tune_study import ALL, DIVERGED, FEWER, FinishedTrial, OpenTrial, Study, check_optuna
from frostline.studies.tune_trials import TrialResult, Trials, should_promote

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
) -> TuneResult:
    """Search for the settings with the best validation accuracy; the test split is not read.

    The complete settings of the best trial are in ``config.toml`` in the folder.

    Parameters
    ----------
    config : TrainConfig
        As for `frostline.fit`; unset options can be searched.
    folder : path, optional
        Of the search; ``tunes/DATA`` by default.
    trials : int
        Total number of trials, those of earlier calls included.
    seconds : float, optional
        Time after which no trial is started.
    search : sequence of str, optional
        Names to search (`frostline.studies.tune_space.SEARCHED`).
    cache_dir : path, optional
        Folder of the feature cache.
    overwrite, resume : bool
        What to do with an existing search; without one, ``resume`` starts it.
    progress : Progress, optional
    splits : Splits, optional
        The data set itself, named ``config.data``.

    Raises
    ------
    FrostlineError
        For errors caused by user input or the environment.
    """
    _check_options(trials, seconds, overwrite=overwrite, resume=resume)
    check(config, splits=splits)
    names = searched_names(config, search)
    output = _output_folder(Path("tunes", data_name(config.data)) if folder is None else Path(folder))
    with output.claim() as claim:
        started = None if overwrite else _read_settings(output.path)
        if started is not None:
            _check_same(started, config, search, output, resume=resume)
            config, names = started.settings, started.search
            claim.keep()
        claim.will_write(*OWN_FILES)
        with log_file(output.path / "log.txt"):
            if resume and started is None:
                log.info("no search in %s yet: starting one", output.path)
            prepared = _prepare(
                config, names, make_context(config.device, cache_dir, visible(progress), config.engine), splits
            )
            if started is None:  # an overwritten search is removed only now
                _write_settings(prepared, names, output)
            else:
                _check_same_images(started, prepared, output)
            return _run(prepared, config, output, claim, trials, seconds)


def _check_options(trials: int, seconds: float | None, *, overwrite: bool, resume: bool) -> None:
    if trials < 1:
        raise ConfigError(f"--trials {trials}: expected 1 or more.")
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--seconds {seconds:g}: expected more than 0.")
    check_mode(overwrite=overwrite, resume=resume)
    check_optuna()


def _output_folder(folder: Path) -> OutputFolder:
    check_name(folder.name)
    title, remedy = f"search '{folder.name}'", "choose another --name"
    return OutputFolder(title, remedy, folder, "search", OWN_FILES, OTHER_OUTPUT_DIR, _made_earlier)


class SearchSettings(BaseModel):
    """Schema of ``settings.json``."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any]
    search: tuple[str, ...] = Field(min_length=1)
    images: dict[str, str] = {}  # fingerprints of the splits; earlier versions wrote none

    @property
    def settings(self) -> TrainConfig:
        """The validated settings."""
        return TrainConfig(**EARLIER_DEFAULTS | self.config)


def _made_earlier(folder: Path) -> bool:
    """Whether an earlier version, which wrote no manifest, has written a search here."""
    try:
        return bool(SearchSettings.model_validate_json(read_bytes(folder / "settings.json")).settings)
    except (OSError, ValueError, FrostlineError):
        return False


def _read_settings(folder: Path) -> SearchSettings | None:
    """Return the settings of the search in a folder, or None where there is no search."""
    path = folder / "settings.json"
    manifest = read_manifest(folder, START_OVER) or Manifest(folder, "search", complete=False)
    if not path.exists() and "settings.json" not in manifest.files:
        return None
    with reading(path, RunError, START_OVER):
        started = SearchSettings.model_validate_json(manifest.read("settings.json"))
    if "study.db" in manifest.files:
        manifest.check("study.db")
    return started


def _check_same(
    started: SearchSettings, config: TrainConfig, search: Sequence[str] | None, output: OutputFolder, *, resume: bool
) -> None:
    """Check that a search is resumed on request, and with its own settings."""
    if not resume:
        raise output.exists_error()
    output.check_same(
        dict(started.settings),
        {name: value for name, value in config if name in config.model_fields_set and value != AUTO},
    )
    if search is not None:
        output.check_same({"search": sorted(started.search)}, {"search": sorted({*search})})


def _check_same_images(started: SearchSettings, prepared: "_Prepared", output: OutputFolder) -> None:
    """Check that a search is resumed on its own images: its trials are compared on the same ones."""
    if started.images and started.images != prepared.trials.images:
        raise output.changed_error("other training or validation images", "restore the images")


def _write_settings(prepared: "_Prepared", names: Sequence[str], output: OutputFolder) -> None:
    """Write the requested settings, replacing an earlier search."""
    output.remove(OWN_FILES - {"log.txt"})
    config = prepared.config
    requested = config.model_dump(mode="json", exclude_unset=True) | {"model": config.model, "fit": config.fit}
    record = SearchSettings(config=requested, search=tuple(names), images=prepared.trials.images)
    write_json(output.path / "settings.json", record.model_dump(mode="json"), OTHER_OUTPUT_DIR)


@dataclass(frozen=True)
class _Prepared:
    """A search that is ready to run: its settings with the network chosen, its trials, its space and first point."""

    config: TrainConfig
    trials: Trials
    space: Space
    start: Values
    val_images: int
    progress: Progress


def _prepare(config: TrainConfig, names: Sequence[str], context: Context, splits: Splits | None) -> _Prepared:
    requested, config = config, searched_settings(config, names)
    plan = resolve(config, context, splits)
    if with_model(requested).model == AUTO:  # a resumed search has the same network, whatever is on the machine then
        chosen = {name: getattr(plan.config, name) for name in ("model", "weights", "taps")}
        requested = requested.model_copy(update=chosen)
    space, start = make_space(names, plan.config, plan.network.backbone)
    trials = Trials(config, plan, context, space)
    for name, values in space.items():  # refuse impossible options before the first trial
        for option in values.options if isinstance(values, Choice) else ():
            trials.config(settings(space, start | {name: option}), trials.rungs[-1])
    log.info("searched: %s", ", ".join(SEARCHED[name][1] for name in space))
    log.info(
        "trials train on %s images (the best quarter is promoted to the next number) and are evaluated on %s "
        "validation images",
        ", ".join(f"{number:,}" for number in trials.rungs), f"{len(plan.splits.val):,}",
    )  # fmt: skip
    return _Prepared(requested, trials, space, start, len(plan.splits.val), context.progress or Silent())


def _run(
    prepared: _Prepared, config: TrainConfig, output: OutputFolder, claim: Claim, trials: int, seconds: float | None
) -> TuneResult:
    """Run trials, and write the results, also when interrupted."""
    output.mark(["settings.json"])
    study = Study(output.path / "study.db", prepared.space, config.seed, prepared.trials.effective)
    claim.keep()
    try:
        _run_trials(study, prepared, trials, seconds)
    finally:
        result = analyze(study.finished(), prepared.space, prepared.trials.rungs, prepared.val_images, config.seed)
        _write(result, prepared.trials, config, output.path)
        output.mark(READ_AGAIN, complete=True)
    return result


def _run_trials(study: Study, prepared: _Prepared, trials: int, seconds: float | None) -> None:
    """Run trials up to their total number or the time limit."""
    finished = study.finished()
    done, begun = len(finished), time.perf_counter()
    if done:
        log.info("%d trials found in the study", done)
    with prepared.progress.bar("trials", max(0, trials - done), "trials") as bar:
        while len(finished) < trials:
            if seconds is not None and time.perf_counter() - begun > seconds:
                log.info("time limit reached: %d of %d trials are finished", len(finished), trials)
                break
            trial = study.ask(prepared.start)
            if trial is None:
                log.info(
                    "the search ends after %d of %d trials: every combination of the searched settings is tried",
                    len(finished), trials,
                )  # fmt: skip
                break
            _run_trial(trial, finished, prepared.trials, prepared.space)
            finished = study.finished()
            log.info(_line(finished[-1], trials))
            bar.advance(1)
            best = best_of(finished)
            bar.note(f"best {final_accuracy(best):.4f}" if best else "")
    log.info("%d trials in %.1f s on %s", len(finished) - done, time.perf_counter() - begun, prepared.trials.device)


def _run_trial(trial: OpenTrial, finished: Sequence[FinishedTrial], trials: Trials, space: Space) -> None:
    """Train with one set of values, on one rung after the other while the trial is promoted."""
    changes = settings(space, trial.values)
    try:
        for images in trials.rungs:
            try:
                outcome = trials.run(changes, images)
            except DivergedError as error:
                log.info("trial %d: %s", trial.number, error)
                trial.report(images, TrialResult(0.0, 0, 0.0))
                return trial.end(DIVERGED, 0.0)
            trial.report(images, outcome)
            others = [other.accuracies[images] for other in finished if images in other.accuracies]
            if images == trials.rungs[-1]:
                return trial.end(ALL, outcome.accuracy)
            if not should_promote(outcome.accuracy, others):
                return trial.end(FEWER, outcome.accuracy)
    except BaseException:
        trial.fail()
        raise


def _line(trial: FinishedTrial, trials: int) -> str:
    reached = "  ".join(f"{images:,}: {accuracy:.4f}" for images, accuracy in trial.accuracies.items())
    values = "  ".join(f"{name} {short_text(value)}" for name, value in trial.values.items())
    return f"trial {trial.number}/{trials}  {reached}  {values}  {trial.seconds:.1f} s"


def _write(result: TuneResult, trials: Trials, config: TrainConfig, folder: Path) -> None:
    if not result.trials:
        return
    write_table(result, folder / "trials.csv")
    write_bytes(folder / "summary.txt", ("\n".join(format_summary(result)) + "\n").encode(), OTHER_OUTPUT_DIR)
    if result.importances:
        draw(result, f"{data_name(config.data)}: parameter importance", folder / "importance.png")
    if result.best is not None:
        write_config(
            trials.config(settings(result.space, result.best.values), trials.rungs[-1]), folder / "config.toml"
        )
