"""The flow of a run, in its order: data, frozen pass, training, evaluation, run folder."""

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
from frostline.activations.fill import FrozenPass, fill
from frostline.activations.forward import FastForward
from frostline.activations.kept import LiveActivations
from frostline.activations.spec import spec_of
from frostline.config import TrainConfig
from frostline.device import cores, describe_device, peak_memory_bytes, pick_device, seed_everything
from frostline.errors import ConfigError, RunError
from frostline.evaluation.metrics import evaluate
from frostline.images.dataset import ImageDataset
from frostline.images.registry import find_source, load_dataset
from frostline.images.views import THE_PICTURE, View
from frostline.networks.backbone import Backbone, channels_last
from frostline.networks.boundary import NONE, Boundary, Frozen, thawed
from frostline.networks.heads import Head, HeadSpec
from frostline.progress import Progress, log
from frostline.runs.bundle import Model, save_bundle
from frostline.runs.choose import check_network, further_views, prepare, recipe_of, split
from frostline.runs.folder import Run, begin, choose_name, open_run
from frostline.runs.pictures import draw_confusion, draw_curves
from frostline.storage import cache_dir as cache_folder
from frostline.storage import write_json
from frostline.training.calibration import calibrate
from frostline.training.checkpoint import Epoch
from frostline.training.examples import Examples, Rows
from frostline.training.loop import Trained, moments, predict_logits, train
from frostline.training.ridge import solve


def fit(
    config: TrainConfig,
    *,
    name: str | None = None,
    output_dir: Path | str = "runs",
    cache_dir: Path | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress | None = None,
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
        Draws bars; silent when left out.

    Returns
    -------
    Run
        Finished, with ``metrics`` and ``model/``.

    Raises
    ------
    FrostlineError
        For everything the user can mend; what was whole stays whole.
    """
    begun = time.perf_counter()
    if overwrite and resume:
        raise ConfigError("--overwrite begins anew and --resume goes on: give one of the two.")
    find_source(config.data)
    check_network(config)
    folder = Path(output_dir)
    name = name or choose_name(config.data, folder, resume=resume)
    with open_run(folder, name, overwrite=overwrite, resume=resume) as run:
        resumed = run.begun and resume
        if resumed:
            config = _as_begun(config, run)
            if run.finished:
                run.checkpoint.unlink(missing_ok=True)
                log.info("run '%s' is finished already; nothing to resume", run.name)
                return run
        _run(run, config, cache_folder(cache_dir), progress, begun=begun, resumed=resumed)
    return run


def _as_begun(asked: TrainConfig, run: Run) -> TrainConfig:
    """Return the settings a run was begun with; what is asked for now must not contradict them."""
    begun = run.config
    for field in asked.model_fields_set:
        value, old = getattr(asked, field), getattr(begun, field)
        if value not in (old, None, "auto"):
            raise RunError(
                f"run '{run.name}' was begun with {field} = {old!r}, now {value!r} is asked for: "
                "leave it out to resume, choose another --name, or --overwrite."
            )
    return begun


def _run(run: Run, config: TrainConfig, cache: Path, progress: Progress | None, *, begun: float, resumed: bool) -> None:
    device = pick_device(config.device)
    splits = load_dataset(config.data, config.data_dir, cache_dir=cache, progress=progress)
    log.info("data: %s from %s, %d classes", splits.name, splits.source, len(splits.train.class_names))
    parts = split(splits, config)
    config, backbone, boundary, preprocess = prepare(config, parts.train, cache, progress)
    if not resumed:
        begin(run, config)
    seed_everything(config.seed)
    log.info("run '%s': %s", run.name, _headline(config, boundary))
    log.info(
        "images: %s train, %s validation, %s test", *(f"{len(part):,}" for part in (parts.train, parts.val, parts.test))
    )

    frozen = Frozen(backbone, boundary)
    forward = FastForward(frozen, preprocess, device)
    datasets = (parts.train, parts.val, parts.test)
    rows, frozen_pass = activations(datasets, forward, config, cache, progress)
    views = []
    for view in further_views(config):
        (row, *_), seen = activations((parts.train,), forward, config, cache, progress, view)
        views.append(row)
        frozen_pass += seen
    examples = [Examples(features, part.labels) for features, part in zip(rows, datasets, strict=True)]
    examples[0] = replace(examples[0], views=tuple(views))

    trunk = channels_last(thawed(backbone, boundary), device)
    head = make_head(config, trunk, examples[0], len(parts.train.class_names)).to(device)
    module = nn.Sequential(*trunk, head)
    trained, extra = _train(run, config, module, head, examples[0], examples[1], progress)

    model = Model(backbone, boundary, preprocess, head, parts.train.class_names)
    save_bundle(model, run.model_folder)
    log.info("evaluating on the test split, once")
    results = {
        name: evaluate(probabilities(module, part), part.labels, model.class_names)
        for name, part in (("val", examples[1]), ("test", examples[2]))
    }
    draw_curves(trained.history, trained.best_epoch, run.folder / "curves.png")
    title = f"{config.data}: test accuracy {results['test']['accuracy']:.4f}"
    draw_confusion(results["test"]["confusion"], model.class_names, title, run.folder / "confusion.png")
    metrics = {
        "schema": 1,
        **results,
        "frozen_pass": asdict(frozen_pass),
        "training": _training_facts(trained) | extra,
        "weights": _weights_facts(backbone),
        "model": _model_facts(config, model, module),
        "data": {"name": splits.name, "fingerprint": {part: d.fingerprint for part, d in vars(parts).items()}},
        "seed": config.seed,
        "versions": _versions(),
        "device": describe_device(device),
        "bit_reproducible": device.type == "cpu",
        "peak_memory_bytes": peak_memory_bytes(),
        "total_seconds": time.perf_counter() - begun,
    }
    write_json(run.folder / "metrics.json", metrics, "--output-dir chooses another place")
    run.checkpoint.unlink(missing_ok=True)
    log.info(_result_line(results["test"], time.perf_counter() - begun))


def activations(
    datasets: Sequence[ImageDataset],
    forward: FastForward,
    config: TrainConfig,
    cache: Path,
    progress: Progress | None,
    view: View = THE_PICTURE,
) -> tuple[list[Rows], FrozenPass]:
    """Return each data set's rows: kept ones below a boundary, live pixels when nothing is frozen."""
    if forward.frozen.boundary.freeze == NONE:
        if view.number == 0:
            log.info("frozen pass: no stage is frozen, so every epoch runs all of them")
        return [LiveActivations(dataset, forward, view) for dataset in datasets], FrozenPass(0, 0, 0.0, 0.0)
    spec = spec_of(config.model, forward.frozen, forward.preprocess, config.cache_dtype)
    if view.number:
        log.info("view %d of %d", view.number + 1, config.views)
    workers = config.workers or cores()
    kept, done = fill(datasets, forward, spec, cache, view=view, progress=progress, workers=workers)
    if done.images_per_second:
        log.info("frozen pass: %.1f s, %.0f images/s", done.seconds, done.images_per_second)
    return list(kept), done


def make_head(config: TrainConfig, trunk: nn.Sequential, examples: Examples, classes: int) -> Head:
    """Make a head that fits what the trunk gives, standardised by the training split."""
    mean, std = moments(trunk, examples, config.seed)
    torch.manual_seed(config.seed)
    head = Head(HeadSpec(config.head, mean.numel(), classes, config.hidden_width, config.dropout))
    head.standardise(mean, std)
    return head


def _train(
    run: Run,
    config: TrainConfig,
    module: nn.Sequential,
    head: Head,
    train_part: Examples,
    val_part: Examples,
    progress: Progress | None,
) -> tuple[Trained, dict[str, Any]]:
    if config.head == "ridge":
        solved = solve(head, train_part, val_part, progress)
        line = Epoch(
            1, solved.train_loss, solved.train_accuracy, solved.val_loss, solved.val_accuracy, 0, solved.seconds
        )
        run.write_history([line])
        return Trained([line], 1, solved.seconds), {"l2": solved.strength, "temperature": solved.temperature}
    trained = train(
        module,
        train_part,
        val_part,
        recipe_of(config),
        checkpoint=run.checkpoint,
        on_epoch=run.write_history,
        progress=progress,
    )
    return trained, {"temperature": calibrate(module, head, val_part)}


def probabilities(module: nn.Module, examples: Examples) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return class probabilities (N, classes)."""
    return predict_logits(module, examples).softmax(1).numpy()


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
        "taps": list(model.boundary.taps),
        "image_size": model.preprocess.image_size,
        "head": config.head,
        "parameters": total,
        "trainable_parameters": sum(p.numel() for p in module.parameters()),
    }


def _headline(config: TrainConfig, boundary: Boundary) -> str:
    frozen = "nothing frozen" if boundary.freeze == NONE else f"frozen up to {boundary.freeze}"
    reads = f"reads {', '.join(boundary.taps)}" if boundary.taps else f"on {boundary.end}"
    return f"{config.model} at {config.image_size} px, {frozen}, {config.head} head {reads}, seed {config.seed}"


def _result_line(test: dict[str, Any], seconds: float) -> str:
    low, high = test["accuracy_ci95"]
    return (
        f"test accuracy {test['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}) on {test['images']:,} images; "
        f"{seconds:.1f} s in all"
    )
