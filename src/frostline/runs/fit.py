"""The flow of a run, in its order: data, frozen pass, training, evaluation, run folder."""

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from frostline import __version__
from frostline.config import TrainConfig
from frostline.device import describe_device, peak_memory_bytes, pick_device, seed_everything
from frostline.errors import ConfigError, RunError
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.metrics import evaluate
from frostline.evaluation.rejection import calibrate_rejection
from frostline.images.dataset import Splits
from frostline.images.overlap import warn_of
from frostline.images.registry import check_data, data_name, load_configured, with_absolute_paths
from frostline.images.views import make_augment
from frostline.networks.backbone import GIVEN, Backbone
from frostline.networks.boundary import NONE, Boundary
from frostline.progress import Progress, log, visible
from frostline.runs.bundle import Model, save_bundle, seal_bundle
from frostline.runs.card import write_card
from frostline.runs.choose import check_network, prepare, split
from frostline.runs.data import check_same_data, data_facts, weights_facts, with_recorded_reason
from frostline.runs.evidence import Predicted, write_evidence
from frostline.runs.folder import OpenRun, Run, choose_name, open_run, write_bad_images
from frostline.runs.index import write_index
from frostline.runs.learn import Learned, Material, learn, make_test, probabilities
from frostline.runs.phases import plan
from frostline.runs.pictures import draw_confusion, draw_curves
from frostline.runs.tracking import choose_trackers, tracked
from frostline.storage import cache_dir as cache_folder
from frostline.storage import write_json
from frostline.training.loop import Trained


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
        The data set itself (`frostline.images.arrays`); ``config.data`` is then no more than what it is called.
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
    if overwrite and resume:
        raise ConfigError("--overwrite begins anew and --resume goes on: give one of the two.")
    if splits is None:
        check_data(config.data)
        config = with_absolute_paths(config)
    if backbone is not None:
        config = config.model_copy(update={"model": backbone.name, "weights": GIVEN})
    check_network(config, backbone)
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
        _run(run, config, splits, backbone, cache_folder(cache_dir), progress, trackers, begun=begun, resumed=resumed)
    return Run(run.folder)


def _as_begun(asked: TrainConfig, run: Run) -> TrainConfig:
    """Return the settings a run was begun with; what is asked for now must not contradict them."""
    begun = run.config
    if Path(asked.data).is_absolute():
        begun = with_absolute_paths(begun)  # runs of earlier versions name their data as it was typed
    for field in asked.model_fields_set:
        value, old = getattr(asked, field), getattr(begun, field)
        if value not in (old, None, "auto"):
            raise RunError(
                f"run '{run.name}' was begun with {field} = {old!r}, now {value!r} is asked for: "
                "leave it out to resume, choose another --name, or --overwrite."
            )
    return begun


def _run(
    run: OpenRun,
    config: TrainConfig,
    splits: Splits | None,
    given: Backbone | None,
    cache: Path,
    progress: Progress | None,
    trackers: Sequence[str],
    *,
    begun: float,
    resumed: bool,
) -> None:
    device = pick_device(config.device)
    splits = splits or load_configured(config, cache, progress)
    log.info("data: %s from %s, %d classes", splits.name, splits.source, len(splits.train.class_names))
    parts = split(splits, config)
    warn_of(parts.overlaps(), splits.source)
    if resumed:
        check_same_data(run, parts)
    config, backbone, boundary, preprocess = prepare(config, parts.train, cache, progress, given)
    if resumed:
        with_recorded_reason(run, backbone)
    else:
        run.begin(config, data_facts(parts) | weights_facts(backbone))
    write_bad_images(run, splits.bad)
    seed_everything(config.seed)
    log.info("run '%s': %s", run.name, _headline(config, boundary))
    log.info(
        "images: %s train, %s validation, %s test", *(f"{len(part):,}" for part in (parts.train, parts.val, parts.test))
    )

    with tracked(trackers, run, config) as tracking:
        material = Material(config, parts, backbone, preprocess, device, cache, progress, watch=tracking.epochs)
        learned = learn(run, plan(config, backbone, boundary), material)
        tracking.results(_leave(run, splits, material, boundary, learned, begun))


def _leave(
    run: OpenRun, splits: Splits, material: Material, boundary: Boundary, learned: Learned, begun: float
) -> dict[str, Any]:
    """Evaluate once, and leave the model and everything that is known of it; the results last."""
    config, parts, backbone = material.config, material.parts, material.backbone
    trained = learned.trained

    mirror = make_augment(config.augment).flip > 0
    val = Predicted(probabilities(learned.module, learned.ready.val), learned.ready.val.labels)
    model = Model(
        backbone, boundary, material.preprocess, learned.head, parts.train.class_names, learned.temperature, mirror,
        calibrate_rejection(val.probabilities),
    )  # fmt: skip
    save_bundle(model, run.model_folder)
    log.info("evaluating on the test split, once" if len(parts.test) else "there is no test split to evaluate on")
    test, tested = make_test(learned, material)
    nothing = Predicted(np.empty((0, len(model.class_names)), np.float32), test.labels)
    tested_on = Predicted(probabilities(learned.module, test), test.labels) if len(test) else nothing
    predicted = {"val": val, "test": tested_on}
    measured = {name: p for name, p in predicted.items() if len(p.labels)}
    results: dict[str, Any] = {
        name: evaluate(p.probabilities, p.labels, model.class_names) for name, p in measured.items()
    }
    write_evidence(run, predicted, parts.test)
    write_index(run.index, learned.ready.trunk, learned.head, learned.ready.train, test, parts.train, config.seed)
    draw_curves(trained.history, trained.best_epoch, run.folder / "curves.png")
    shown, word = ("test", "test") if "test" in results else ("val", "validation")
    title = f"{splits.name}: {word} accuracy {results[shown]['accuracy']:.4f}"
    draw_confusion(results[shown]["confusion"], model.class_names, title, run.folder / "confusion.png")
    metrics = {
        "schema": 1,
        "test": None,  # of a run without a test split
        **results,
        "calibration": before_and_after(learned.temperature, {name: p.pair for name, p in measured.items()}),
        "frozen_pass": asdict(learned.frozen_pass + tested),
        "training": _training_facts(trained) | learned.facts,
        "weights": _weights_facts(backbone),
        "model": _model_facts(config, model, learned.module),
        "data": {
            "name": splits.name,
            "images": {part: len(d) for part, d in vars(parts).items()},
            "fingerprint": {part: d.fingerprint for part, d in vars(parts).items()},
            "overlap": {pair: shared.facts for pair, shared in parts.overlaps().items()},
        },
        "seed": config.seed,
        "versions": _versions(),
        "device": describe_device(material.device),
        "bit_reproducible": material.device.type == "cpu",
        "peak_memory_bytes": peak_memory_bytes(),
        "total_seconds": time.perf_counter() - begun,
    }
    write_card(model, metrics, run.model_folder)
    seal_bundle(run.model_folder)
    write_json(run.folder / "metrics.json", metrics, "--output-dir chooses another place")
    run.complete()
    log.info(_result_line(metrics, time.perf_counter() - begun))
    return metrics


def _training_facts(trained: Trained) -> dict[str, Any]:
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
