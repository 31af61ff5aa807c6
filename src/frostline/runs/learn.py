"""A run's phases: for each the frozen pass, then training on its rows, beginning with what the phase before left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from frostline.activations.fill import FrozenPass, fill
from frostline.activations.forward import FastForward
from frostline.activations.kept import LiveActivations
from frostline.activations.spec import spec_of
from frostline.config import TrainConfig
from frostline.device import cores, half_precision
from frostline.errors import RunError
from frostline.images.dataset import ImageDataset
from frostline.images.drawn.dataset import load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.views import THE_PICTURE, View
from frostline.networks.backbone import Backbone, channels_last
from frostline.networks.boundary import NONE, Boundary, Frozen, Thawed
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.normalised import fold, normalise
from frostline.progress import Progress, log
from frostline.runs.choose import Parts
from frostline.runs.folder import Run
from frostline.runs.phases import Step
from frostline.training.calibration import calibrate
from frostline.training.checkpoint import Epoch, saved_phase
from frostline.training.examples import Examples, Rows
from frostline.training.loop import Phase, Trained, moments, predict_logits, train
from frostline.training.optimisers import layer_groups
from frostline.training.ridge import solve

NORMALISE_ROWS = 512


class Source(Protocol):
    """Where rows come from: see `activations`."""

    def __call__(
        self,
        datasets: Sequence[ImageDataset],
        forward: FastForward,
        config: TrainConfig,
        cache: Path,
        progress: Progress | None,
        view: View = THE_PICTURE,
    ) -> tuple[list[Rows], FrozenPass]:
        """Return each data set's rows, and what it took."""


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


@dataclass(frozen=True)
class Material:
    """What every phase of a run works with; ``config`` has nothing left open, ``watch`` is told the history."""

    config: TrainConfig
    parts: Parts
    backbone: Backbone
    preprocess: Preprocess
    device: torch.device
    cache: Path
    progress: Progress | None
    source: Source = activations
    watch: Callable[[Sequence[Epoch]], None] | None = None


@dataclass(frozen=True)
class Ready:
    """A phase before its first step: what is trained, and on what. The test split has no part in it.

    ``prior`` has pictures of drawn objects, for a head that is solved in closed form and heeds how these vary.
    """

    forward: FastForward
    trunk: Thawed
    head: Head
    train: Examples
    val: Examples
    frozen_pass: FrozenPass  # over the pictures of the data set alone
    prior: Examples | None = None

    @property
    def module(self) -> nn.Sequential:
        """Thawed stages and head: rows to logits."""
        return nn.Sequential(self.trunk, self.head)


@dataclass(frozen=True)
class Learned:
    """What a phase leaves.

    Attributes
    ----------
    ready : Ready
        What was trained, on what.
    facts : dict
        For ``metrics.json``: what was chosen on validation.
    frozen_pass : FrozenPass
        Of this phase and those before.
    """

    ready: Ready
    trained: Trained
    facts: dict[str, Any]
    frozen_pass: FrozenPass

    @property
    def module(self) -> nn.Sequential:
        """Thawed stages, if any, and the head: rows to logits."""
        return self.ready.module

    @property
    def temperature(self) -> float:
        """What the head's logits were divided by to suit validation; only what `learn` returns is calibrated."""
        return float(self.facts["temperature"])

    @property
    def head(self) -> Head:
        """The trained head."""
        return self.ready.head


def learn(run: Run | None, steps: Sequence[Step], material: Material) -> Learned:
    """Go through the phases of a run, or through those that are left of it, and calibrate what comes out.

    Parameters
    ----------
    run : Run or None
        Keeps the history and a checkpoint; ``None`` writes neither.
    """
    begin = saved_phase(run.checkpoint) if run else 0
    learned: Learned | None = None
    for number, step in enumerate(steps[begin:], begin):
        learned = _phase(run, number, step, len(steps), material, learned)
    if learned is None:
        name = run.name if run else ""
        raise RunError(f"the checkpoint of run '{name}' belongs to another --schedule: --overwrite the run.")
    if material.config.head == "ridge":
        return learned
    temperature = calibrate(learned.module, learned.head, learned.ready.val)
    return replace(learned, facts={"temperature": temperature})


def make_ready(step: Step, material: Material, head: Head | None = None) -> Ready:
    """Run the frozen stages of a phase over what it needs, and put a head on what is left.

    Parameters
    ----------
    head : Head, optional
        Of the phase before; a new one, standardised by the training split, when left out.
    """
    config, parts, device = material.config, material.parts, material.device
    cache, progress = material.cache, material.progress
    forward = FastForward(Frozen(material.backbone, step.boundary), material.preprocess, device)
    trunk = make_trunk(config, material.backbone, step.boundary, material.preprocess.image_size, device)
    (train_rows, val_rows), frozen_pass = material.source((parts.train, parts.val), forward, config, cache, progress)
    views = []
    for view in step.views:
        (row,), done = material.source((parts.train,), forward, config, cache, progress, view)
        views.append(row)
        frozen_pass += done
    train_part = Examples(train_rows, parts.train.labels, tuple(views))
    head = head or make_head(config, trunk, train_part, len(parts.train.class_names)).to(device)
    val_part = Examples(val_rows, parts.val.labels)
    if config.batch_norm and trunk.stages:
        normalise(trunk, train_part.rows.take(train_part.typical(NORMALISE_ROWS, config.seed)).to(device))
    return Ready(forward, trunk, head, train_part, val_part, frozen_pass, _prior(material, forward))


def _prior(material: Material, forward: FastForward) -> Examples | None:
    """Run the frozen stages over drawn pictures, for a head that heeds how these vary."""
    if material.config.head != "ridge" or material.config.prior == "none":
        return None
    drawn = load_prior()
    (rows,), _ = material.source((drawn,), forward, material.config, material.cache, material.progress)
    return Examples(rows, drawn.labels)


def judged(config: TrainConfig) -> TrainConfig:
    """Return the settings for rows of the test split: kept whole, so that `predict` finds the same probabilities."""
    return config.model_copy(update={"cache_dtype": "float32"})


def make_test(learned: Learned, material: Material) -> tuple[Examples, FrozenPass]:
    """Run the frozen stages over the test split, once there is nothing left to choose."""
    test, config = material.parts.test, judged(material.config)
    (rows,), done = material.source((test,), learned.ready.forward, config, material.cache, material.progress)
    return Examples(rows, test.labels), done


def make_trunk(
    config: TrainConfig, backbone: Backbone, boundary: Boundary, image_size: int, device: torch.device
) -> Thawed:
    """Make the thawed part, to be trained in 16 bits when that is asked for and quicker here."""
    trunk = channels_last(Thawed(backbone, boundary, image_size), device)
    trunk.precision = half_precision(device) if config.amp else None
    if config.amp and trunk.precision is None:
        log.info(
            "--amp changes nothing: this %s has no quick 16-bit arithmetic, so training stays in float32", device.type
        )
    return trunk


def _phase(
    run: Run | None, number: int, step: Step, phases: int, material: Material, earlier: Learned | None
) -> Learned:
    config = material.config
    if phases > 1:
        log.info("phase %d of %d: %s", number + 1, phases, _what(step, material.backbone))
    ready = make_ready(step, material, earlier.head if earlier else None)
    module, facts = ready.module, dict[str, Any]()
    if config.head == "ridge":
        trained, facts = _solved(run, material, ready)
    else:
        trained = train(
            module,
            ready.train,
            ready.val,
            step.recipe,
            groups=layer_groups(ready.trunk.stages.values(), ready.head, config.layer_decay),
            phase=Phase(
                number,
                step.boundary.freeze,
                earlier.trained if earlier else Trained([], 0),
                run.identity if run else "",
            ),
            checkpoint=run.checkpoint if run else None,
            on_epoch=_keeper(run, material),
            progress=material.progress,
        )
        fold(ready.trunk)
    frozen_pass = ready.frozen_pass + earlier.frozen_pass if earlier else ready.frozen_pass
    return Learned(ready, trained, facts, frozen_pass)


def _keeper(run: Run | None, material: Material) -> Callable[[list[Epoch]], None] | None:
    if run is None:
        return None

    def keep(history: list[Epoch]) -> None:
        run.write_history(history)
        if material.watch is not None:
            material.watch(history)

    return keep


def _what(step: Step, backbone: Backbone) -> str:
    boundary = step.boundary
    if boundary.freeze == boundary.end:
        return "the head, on kept activations"
    first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze) + 1
    return f"{', '.join(backbone.stage_names[first : backbone.position(boundary.end) + 1])} thawed"


def make_head(config: TrainConfig, trunk: nn.Module, examples: Examples, classes: int) -> Head:
    """Make a head that fits what the trunk gives, standardised by the training split."""
    mean, std = moments(trunk, examples, config.seed)
    torch.manual_seed(config.seed)
    head = Head(HeadSpec(config.head, mean.numel(), classes, config.hidden_width, config.dropout))
    head.standardise(mean, std)
    return head


def _solved(run: Run | None, material: Material, ready: Ready) -> tuple[Trained, dict[str, Any]]:
    solved = solve(ready.head, ready.train, ready.val, material.progress, prior=ready.prior)
    line = Epoch(
        1, material.config.freeze, solved.train_loss, solved.train_accuracy, solved.val_loss, solved.val_accuracy, 0,
        solved.seconds,
    )  # fmt: skip
    keep = _keeper(run, material)
    if keep is not None:
        keep([line])
    return Trained([line], 1), {"l2": solved.strength, "temperature": solved.temperature}


def probabilities(module: nn.Module, examples: Examples) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return class probabilities (N, classes)."""
    return predict_logits(module, examples).softmax(1).numpy()
