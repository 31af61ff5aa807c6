"""Train a classifier and write its run folder: resolve, extract, train, evaluate."""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from frostline import __version__
from frostline._utils.device import describe_device, peak_memory_bytes, seed_everything
from frostline._utils.output_folder import check_mode
from frostline._utils.progress import Progress, log, visible
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_json
from frostline.config import TrainConfig
from frostline.data.augment import make_augment
from frostline.data.check import warn_of
from frostline.data.dataset import Splits
from frostline.data.registry import data_name, with_absolute_paths
from frostline.evaluation.rejection import calibrate_rejection
from frostline.models.backbone import GIVEN, Backbone
from frostline.models.boundary import NONE, Boundary
from frostline.pipeline.context import Context, make_context
from frostline.pipeline.evaluate import evaluate
from frostline.pipeline.extract import extract
from frostline.pipeline.resolve import Plan, RunSplits, check, resolve_images, resolve_network
from frostline.pipeline.train import TrainedModel, train
from frostline.runs.bundle import Model, save_bundle, seal_bundle
from frostline.runs.embedding_index import write_index
from frostline.runs.evidence import write_evidence
from frostline.runs.folder import OpenRun, Run, choose_name, open_run, write_bad_images
from frostline.runs.model_card import write_card
from frostline.runs.plots import draw_confusion, draw_curves
from frostline.runs.schemas import SplitRecord
from frostline.runs.tracking import Tracking, choose_trackers, tracked
from frostline.training.checkpoint import Epoch
from frostline.training.trainer import TrainingResult

NAMES = {"train": "training", "val": "validation", "test": "test"}


def data_facts(splits: RunSplits) -> dict[str, Any]:
    """Return what ``data.json`` holds: of each split how many images, and a digest of content, order and labels."""
    return {name: {"images": len(part), "fingerprint": part.fingerprint} for name, part in splits.by_name.items()}


def weights_facts(backbone: Backbone) -> dict[str, Any]:
    """Return what ``data.json`` holds of the weights: where they came from, and why these."""
    return {"weights": asdict(backbone.origin)} if backbone.origin else {}


def with_recorded_reason(run: Run, backbone: Backbone) -> None:
    """Give the weights the reason that was noted when the run was begun: now they are no more than those it names."""
    recorded = run.begin_record.weights
    if recorded is not None and backbone.origin is not None:
        backbone.origin = replace(backbone.origin, reason=recorded.reason)


def check_same_data(run: Run, splits: RunSplits) -> None:
    """Refuse to go on with other images than those a run was begun with.

    Raises
    ------
    RunError
        When images came, went or changed, or ``data.json`` is missing or damaged.
    """
    then, now = run.begin_record, data_facts(splits)
    before = {"train": then.train, "val": then.val, "test": then.test}
    changes = [
        _change(NAMES[name], split, now[name]) for name, split in before.items() if split.model_dump() != now[name]
    ]
    if changes:
        raise run.output.changed_error(f"other images ({'; '.join(changes)})", "restore the images")


def _change(name: str, then: SplitRecord, now: dict[str, Any]) -> str:
    if then.images == now["images"]:
        return f"{name}: {now['images']:,} as before, but not the same"
    return f"{name}: {then.images:,} then, {now['images']:,} now"


def fit(
    config: TrainConfig,
    *,
    name: str | None = None,
    output_dir: Path | str = "runs",
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
    splits: Splits | None = None,
    backbone: Backbone | None = None,
    track: Sequence[str] = (),
) -> Run:
    """Train a classifier and leave a run folder.

    Parameters
    ----------
    config : TrainConfig
        What to train on what; the defaults are the command line's.
    name : str, optional
        The run's name; ``DATA-N`` when left out.
    output_dir, cache_dir : path, optional
        Where runs and kept activations go.
    overwrite, resume : bool
        What to do when the name is taken.
    progress : Progress, optional
        Draws bars; when left out a notebook shows some, and nothing else does.
    splits : Splits, optional
        The data set itself (`frostline.data.arrays`); ``config.data`` is then no more than what it is called.
    backbone : Backbone, optional
        The network itself (`Backbone.from_module`), which stays as it is; ``config.model`` and ``config.weights`` then
        say nothing. Give it again to resume, and to `Classifier.load`.
    track : sequence of str
        ``mlflow``, ``tensorboard``: who is told the history and the results as well. A resumed run goes on where it
        was tracked before.

    Returns
    -------
    Run
        Finished, with ``metrics`` and ``model/``.

    Raises
    ------
    FrostlineError
        For everything the user can mend; what was whole stays whole.
    """
    progress = visible(progress)
    begun = time.perf_counter()
    check_mode(overwrite=overwrite, resume=resume)
    if backbone is not None:
        config = config.model_copy(update={"model": backbone.name, "weights": GIVEN})
    check(config, backbone, splits)
    if splits is None:
        config = with_absolute_paths(config)
    folder = Path(output_dir)
    if name is None:
        name = choose_name(data_name(config.data), folder, resume=resume)
    with open_run(folder, name, overwrite=overwrite, resume=resume) as run:
        resumed = run.begun and resume
        trackers = choose_trackers(track, run, resumed=resumed)
        if resumed:
            config = _as_begun(config, run)
            run.go_on()
            if run.finished:
                run.remove_checkpoint()
                log.info("run '%s' is finished already; nothing to resume", run.name)
                with tracked(trackers, run, config) as tracking:  # it may have been stopped before all was told
                    tracking.epochs(run.history)
                    tracking.results(run.metrics)
                return Run(run.folder)
        context = make_context(config.device, cache_dir, progress)
        _run(run, config, context, splits, backbone, trackers, begun=begun, resumed=resumed)
    return Run(run.folder)


def _as_begun(asked: TrainConfig, run: Run) -> TrainConfig:
    """Return the settings a run was begun with; what is asked for now must not contradict them."""
    begun = run.config
    if Path(asked.data).is_absolute():
        begun = with_absolute_paths(begun)  # runs of earlier versions name their data as it was typed
    chosen = {name: value for name, value in asked if name in asked.model_fields_set and value not in (None, "auto")}
    run.output.check_same(dict(begun), chosen)
    return begun


class _RunCheckpointer:
    """Keeps a training's history and checkpoint in its run folder, and tells the trackers."""

    def __init__(self, run: OpenRun, tracking: Tracking) -> None:
        self.name, self.identity, self.checkpoint = run.name, run.identity, run.checkpoint
        self._run, self._tracking = run, tracking

    def keep(self, history: list[Epoch]) -> None:
        """Keep the epochs so far."""
        self._run.write_history(history)
        self._tracking.epochs(history)


def _run(
    run: OpenRun,
    config: TrainConfig,
    context: Context,
    data: Splits | None,
    given: Backbone | None,
    trackers: Sequence[str],
    *,
    begun: float,
    resumed: bool,
) -> None:
    data, splits = resolve_images(config, context, data)
    warn_of(splits.overlaps, data.source)
    if resumed:
        check_same_data(run, splits)
    plan = Plan(resolve_network(config, splits.train, context, given), splits)
    config, backbone = plan.config, plan.network.backbone
    if resumed:
        with_recorded_reason(run, backbone)
    else:
        run.begin(config, data_facts(splits) | weights_facts(backbone))
    write_bad_images(run, data.bad)
    seed_everything(config.seed)
    log.info("run '%s': %s", run.name, _headline(config, plan.network.boundary))
    log.info("images: %s train, %s validation, %s test", *(f"{len(part):,}" for part in splits.by_name.values()))

    with tracked(trackers, run, config) as tracking:
        model = train(extract(plan, context), _RunCheckpointer(run, tracking))
        tracking.results(_write_artifacts(run, data.name, model, begun))


def _write_artifacts(run: OpenRun, data: str, model: TrainedModel, begun: float) -> dict[str, Any]:
    """Evaluate once, and write the model and everything that is known of it; the results last."""
    plan, config, network = model.plan, model.plan.config, model.plan.network
    splits, names = plan.splits, plan.splits.train.class_names

    mirror = make_augment(config.augment).flip > 0
    val = model.predict(model.last.features.val)
    bundle = Model(
        network.backbone, network.boundary, network.preprocess, model.head, names, model.temperature, mirror,
        calibrate_rejection(val.probabilities),
    )  # fmt: skip
    save_bundle(bundle, run.model_folder)
    results = evaluate(model, val)
    write_evidence(run, {"val": val, "test": results.test}, splits.test)
    rows = model.last.features.train
    write_index(run.index, model.last.trunk, model.head, rows, results.test_rows, splits.train, config.seed)
    draw_curves(model.trained.history, model.trained.best_epoch, run.folder / "curves.png")
    shown = "test" if results.metrics["test"] else "val"
    measured = results.metrics[shown]
    title = f"{data}: {'test' if shown == 'test' else 'validation'} accuracy {measured['accuracy']:.4f}"
    draw_confusion(measured["confusion"], names, title, run.folder / "confusion.png")
    metrics = {
        "schema": 1,
        **results.metrics,
        "frozen_pass": asdict(results.frozen_pass),
        "training": _training_facts(model.trained) | model.facts,
        "weights": _weights_facts(network.backbone),
        "model": _model_facts(config, bundle, model.module),
        "data": {
            "name": data,
            "images": {part: len(images) for part, images in splits.by_name.items()},
            "fingerprint": {part: images.fingerprint for part, images in splits.by_name.items()},
            "overlap": {pair: shared.facts for pair, shared in splits.overlaps.items()},
        },
        "seed": config.seed,
        "versions": _versions(),
        "device": describe_device(model.features.context.device),
        "bit_reproducible": model.features.context.device.type == "cpu",
        "peak_memory_bytes": peak_memory_bytes(),
        "total_seconds": time.perf_counter() - begun,
    }
    write_card(bundle, metrics, run.model_folder)
    seal_bundle(run.model_folder)
    write_json(run.folder / "metrics.json", metrics, OTHER_OUTPUT_DIR)
    run.complete()
    log.info(_result_line(metrics, time.perf_counter() - begun))
    return metrics


def _training_facts(trained: TrainingResult) -> dict[str, Any]:
    return {"epochs": len(trained.history), "best_epoch": trained.best_epoch, "seconds": trained.seconds}


def _weights_facts(backbone: Backbone) -> dict[str, str]:
    origin = backbone.origin
    return {"name": origin.name, "sha256": origin.sha256} if origin else {}


def _versions() -> dict[str, str]:
    return {
        "frostline": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _model_facts(config: TrainConfig, model: Model, module: nn.Module) -> dict[str, Any]:
    total = sum(p.numel() for p in model.backbone.stages.parameters()) + sum(p.numel() for p in model.head.parameters())
    return {
        "name": config.model,
        "freeze": config.freeze,
        "schedule": None if model.boundary.freeze == model.boundary.end else config.schedule,
        "taps": list(model.boundary.taps),
        "image_size": model.preprocess.image_size,
        "head": config.head,
        "prior": config.prior if config.head == "ridge" else None,
        "parameters": total,
        "trainable_parameters": sum(p.numel() for p in module.parameters()),
    }


def _headline(config: TrainConfig, boundary: Boundary) -> str:
    frozen = "nothing frozen" if boundary.freeze == NONE else f"frozen up to {boundary.freeze}"
    reads = f"reads {', '.join(boundary.taps)}" if boundary.taps else f"on {boundary.end}"
    return f"{config.model} at {config.image_size} px, {frozen}, {config.head} head {reads}, seed {config.seed}"


def _result_line(metrics: dict[str, Any], seconds: float) -> str:
    test = metrics["test"]
    if test is None:
        return (
            f"no test accuracy (there is no test split); {metrics['val']['accuracy']:.4f} on the validation images, "
            f"which settings were chosen by; {seconds:.1f} s in all"
        )
    low, high = test["accuracy_ci95"]
    return (
        f"test accuracy {test['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}) on {test['images']:,} images; "
        f"{seconds:.1f} s in all"
    )
