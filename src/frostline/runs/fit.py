"""Train a classifier and write its run folder: resolve, extract, train, evaluate."""

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from frostline._utils.device import seed_everything
from frostline._utils.output_folder import check_mode
from frostline._utils.progress import Progress, log
from frostline._utils.terminal import reporting
from frostline.config import TrainConfig
from frostline.data.check import warn_overlaps
from frostline.data.dataset import Splits
from frostline.data.registry import data_name, with_absolute_paths
from frostline.models.backbone import GIVEN, Backbone
from frostline.models.boundary import NONE, Boundary
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.extract import extract
from frostline.pipeline.resolve import Plan, RunSplits, check, resolve_images, resolve_network
from frostline.pipeline.train import train
from frostline.runs.artifacts import write_artifacts
from frostline.runs.folder import Run, choose_name
from frostline.runs.tracking import Tracking, choose_trackers, tracked
from frostline.runs.writer import OpenRun, open_run, write_bad_images, write_history
from frostline.training.checkpoint import Epoch

NAMES = {"train": "training", "val": "validation", "test": "test"}


class ExistingRun(TypedDict, total=False):
    """What `fit` does with a run of the same name; by default it is refused."""

    overwrite: bool
    resume: bool


def fit(
    config: TrainConfig,
    *,
    name: str | None = None,
    output_dir: Path | str = "runs",
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    verbose: int = 1,
    splits: Splits | None = None,
    backbone: Backbone | None = None,
    track: Sequence[str] = (),
    **existing: Unpack[ExistingRun],
) -> Run:
    """Train a classifier and write its run folder.

    Parameters
    ----------
    config : TrainConfig
        Settings; the defaults are those of the command line.
    name : str, optional
        Name of the run; the next free ``DATA-N`` by default.
    output_dir, cache_dir : path, optional
        Folders of the runs and of the feature cache.
    progress : Progress, optional
        Progress bars, in place of those that ``verbose`` asks for.
    verbose : int
        1 shows progress bars in a notebook; in a script it prints what is done on standard error, with progress bars on
        a terminal. 0 shows nothing.
    splits : Splits, optional
        The data set itself (`frostline.data.arrays`); ``config.data`` is then only its name.
    backbone : Backbone, optional
        The network itself (`Backbone.from_module`), which is not modified; ``config.model`` and ``config.weights`` are
        then ignored. Pass it again to resume, and to `Classifier.load`.
    track : sequence of str
        Trackers to log to: ``mlflow``, ``tensorboard``. A resumed run keeps those it was started with.
    **existing : bool
        ``overwrite=True`` replaces a run of that name, ``resume=True`` continues it.

    Returns
    -------
    Run

    Raises
    ------
    FrostlineError
        For errors caused by user input or the environment.
    """
    start = time.perf_counter()
    mode = _mode(**existing)
    if backbone is not None:
        config = config.model_copy(update={"model": backbone.name, "weights": GIVEN})
    check(config, backbone, splits)
    config = with_absolute_paths(config) if splits is None else config
    output_dir = Path(output_dir)
    name = choose_name(data_name(config.data), output_dir, resume=mode["resume"]) if name is None else name
    with reporting(progress, verbose) as shown, open_run(output_dir, name, **mode) as run:
        resumed = run.begun and mode["resume"]
        trackers = choose_trackers(track, run, resumed=resumed)
        started = _resume(config, run, trackers) if resumed else config
        if started is not None:
            context = make_context(started.device, cache_dir, shown, started.engine)
            _run(run, started, context, splits, backbone, trackers, start=start, resumed=resumed)
    return Run(run.folder)


def _mode(*, overwrite: bool = False, resume: bool = False) -> ExistingRun:
    check_mode(overwrite=overwrite, resume=resume)
    return {"overwrite": overwrite, "resume": resume}


def _resume(requested: TrainConfig, run: OpenRun, trackers: Sequence[str]) -> TrainConfig | None:
    """Return the settings that a run was started with, which the requested ones must not contradict.

    Of a finished run the last steps are repeated, as it may have been stopped between them; then there are no settings.
    """
    started = run.config
    if Path(requested.data).is_absolute():
        started = with_absolute_paths(started)  # runs of earlier versions have relative paths
    explicit = requested.model_fields_set
    chosen = {name: value for name, value in requested if name in explicit and value not in (None, "auto")}
    if chosen.get("model") == started.model.partition(":")[2]:
        del chosen["model"]  # the short name of the run's network
    run.output.check_same(dict(started), chosen)
    run.resume()
    if not run.finished:
        return started
    run.remove_checkpoint()
    log.info("run '%s' is finished already; nothing to resume", run.name)
    with tracked(trackers, run, started) as tracking:
        tracking.epochs(run.history)
        tracking.results(run.metrics)
    return None


class _RunCheckpointer:
    """Writes a training's history and checkpoint to its run folder, and logs the history to the trackers."""

    def __init__(self, run: OpenRun, tracking: Tracking) -> None:
        self.name, self.identity, self.checkpoint = run.name, run.identity, run.checkpoint
        self._run, self._tracking = run, tracking

    def keep(self, history: list[Epoch]) -> None:
        """Write the epochs so far."""
        write_history(self._run, history)
        self._tracking.epochs(history)


def _run(
    run: OpenRun,
    config: TrainConfig,
    context: Context,
    data: Splits | None,
    backbone: Backbone | None,
    trackers: Sequence[str],
    *,
    start: float,
    resumed: bool,
) -> None:
    data, splits = resolve_images(config, context, data)
    warn_overlaps(splits.overlaps, data.source)
    if resumed:
        check_same_data(run, splits)
    plan = Plan(resolve_network(config, splits.train, context, backbone), splits)
    config, backbone = plan.config, plan.network.backbone
    if resumed:
        _restore_reason(run, backbone)
    else:
        weights = {"weights": asdict(backbone.origin)} if backbone.origin else {}
        run.begin(config, data_facts(splits) | weights | {"compared": plan.network.compared})
    write_bad_images(run, data.bad)
    seed_everything(config.seed)
    log.info("run '%s': %s", run.name, _headline(config, plan.network.boundary))
    log.info("images: %s train, %s validation, %s test", *(f"{len(part):,}" for part in splits.by_name.values()))

    with tracked(trackers, run, config) as tracking:
        model = train(extract(plan, context), _RunCheckpointer(run, tracking))
        tracking.results(write_artifacts(run, data, model, start))


def data_facts(splits: RunSplits) -> dict[str, Any]:
    """Return, for ``data.json``, each split's number of images and digest of content, order and labels."""
    return {name: {"images": len(part), "fingerprint": part.fingerprint} for name, part in splits.by_name.items()}


def check_same_data(run: Run, splits: RunSplits) -> None:
    """Refuse to resume a run with other images than it was started with.

    Raises RunError when images were added, removed or changed, or ``data.json`` is missing or damaged.
    """
    record, now = run.begin_record, data_facts(splits)
    changes = []
    for name, word in NAMES.items():
        before, after = getattr(record, name).model_dump(), now[name]
        if before["images"] != after["images"]:
            changes.append(f"{word}: {before['images']:,} then, {after['images']:,} now")
        elif before != after:
            changes.append(f"{word}: {after['images']:,} as before, but not the same")
    if changes:
        raise run.output.changed_error(f"other images ({'; '.join(changes)})", "restore the images")


def _restore_reason(run: Run, backbone: Backbone) -> None:
    """Set the reason for the choice of weights as recorded at the start; the resumed run only names the weights."""
    recorded = run.begin_record.weights
    if recorded is not None and backbone.origin is not None:
        backbone.origin = replace(backbone.origin, reason=recorded.reason)


def _headline(config: TrainConfig, boundary: Boundary) -> str:
    frozen = "nothing frozen" if boundary.freeze == NONE else f"frozen up to {boundary.freeze}"
    reads = f"reads {', '.join(boundary.taps)}" if boundary.taps else f"on {boundary.end}"
    return f"{config.model} at {config.image_size} px, {frozen}, {config.head} head {reads}, seed {config.seed}"
