"""Train the thawed stages and the head, phase by phase."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from frostline._utils.device import half_precision
from frostline._utils.progress import log
from frostline.errors import RunError
from frostline.evaluation.metrics import Predictions
from frostline.features.extract import FrozenPass
from frostline.models.backbone import Backbone, channels_last
from frostline.models.batch_norm import fold, normalize
from frostline.models.boundary import NONE, Boundary, Thawed
from frostline.models.heads import Head, HeadSpec
from frostline.pipeline.extract import Features, PhaseFeatures
from frostline.pipeline.phases import PhasePlan
from frostline.pipeline.resolve import HeadSettings, Plan
from frostline.training.calibration import calibrate
from frostline.training.checkpoint import Epoch, saved_phase
from frostline.training.examples import Examples, moments
from frostline.training.optim import layer_groups
from frostline.training.ridge import solve
from frostline.training.trainer import Phase, TrainingResult, predict_logits
from frostline.training.trainer import train as descend

NORMALIZATION_ROWS = 512


class Checkpointer(Protocol):
    """Saves the progress of a training so that it can be resumed."""

    @property
    def name(self) -> str:
        """The name of the training in error messages."""

    @property
    def identity(self) -> str:
        """A digest of settings and images: checkpoints with another one are rejected."""

    @property
    def checkpoint(self) -> Path:
        """The file with the state after the last epoch; it need not exist."""

    def keep(self, history: list[Epoch]) -> None:
        """Save the history so far; called after each epoch."""


@dataclass(frozen=True)
class Trainable:
    """Thawed stages and head of a phase, and the rows that they are trained on."""

    features: PhaseFeatures
    trunk: Thawed
    head: Head

    @property
    def module(self) -> nn.Sequential:
        """Thawed stages, if any, and the head: rows to logits."""
        return nn.Sequential(self.trunk, self.head)


@dataclass(frozen=True)
class TrainedModel:
    """The result of `train`."""

    features: Features
    last: Trainable  # the last phase, trained
    trained: TrainingResult  # the epochs of all phases
    facts: dict[str, Any]  # selected on the validation split, for metrics.json
    frozen_pass: FrozenPass  # of all phases

    @property
    def plan(self) -> Plan:
        """The plan that was trained."""
        return self.features.plan

    @property
    def head(self) -> Head:
        """The trained head."""
        return self.last.head

    @property
    def module(self) -> nn.Sequential:
        """Thawed stages, if any, and the head: rows to logits."""
        return self.last.module

    @property
    def temperature(self) -> float:
        """The temperature that calibrates the head's logits, already applied to what `train` returns."""
        return float(self.facts["temperature"])

    def predict(self, examples: Examples) -> Predictions:
        """Return calibrated class probabilities and the labels."""
        return Predictions(predict_logits(self.module, examples).softmax(1).numpy(), examples.labels)


def train(features: Features, checkpointer: Checkpointer | None = None) -> TrainedModel:
    """Train the phases of a plan, from the checkpoint on if there is one, and calibrate the result.

    Raises
    ------
    RunError
        If the checkpoint has more phases than the plan.
    """
    phases = features.plan.phases
    first = saved_phase(checkpointer.checkpoint) if checkpointer else 0
    model: TrainedModel | None = None
    for number, phase in enumerate(phases[first:], first):
        if len(phases) > 1:
            trains = _describe(phase.boundary, features.plan.network.backbone)
            log.info("phase %d of %d: %s", number + 1, len(phases), trains)
        model = _train_phase(features, number, phase, model, checkpointer)
    if model is None:
        name = checkpointer.name if checkpointer else ""
        raise RunError(f"the checkpoint of run '{name}' was written with another --schedule: --overwrite the run.")
    if features.plan.head.kind == "ridge":
        return model
    temperature = calibrate(model.module, model.head, model.last.features.val)
    return replace(model, facts={"temperature": temperature})


def prepare_phase(features: Features, phase: PhasePlan, head: Head | None = None) -> Trainable:
    """Return the rows, thawed stages and head of a phase.

    Parameters
    ----------
    head : Head, optional
        Of the previous phase; by default a new one, standardized by the training split.
    """
    plan, device = features.plan, features.context.device
    network, classes = plan.network, len(plan.splits.train.class_names)
    trunk = make_trunk(network.backbone, phase.boundary, network.preprocess.image_size, device, amp=phase.amp)
    rows = features.of(phase)
    head = head or make_head(plan.head, trunk, rows.train, classes).to(device)
    if phase.batch_norm and trunk.stages:
        sample = rows.train.typical(NORMALIZATION_ROWS, phase.recipe.seed)
        normalize(trunk, rows.train.rows.take(sample).to(device))
    return Trainable(rows, trunk, head)


def make_trunk(backbone: Backbone, boundary: Boundary, image_size: int, device: torch.device, *, amp: bool) -> Thawed:
    """Return the thawed stages, in mixed precision with ``amp`` on a device that is faster with it."""
    trunk = channels_last(Thawed(backbone, boundary, image_size), device)
    trunk.precision = half_precision(device) if amp else None
    if amp and trunk.precision is None:
        log.info("--amp has no effect: this %s has no fast 16-bit arithmetic, so training uses float32", device.type)
    return trunk


def _train_phase(
    features: Features, number: int, phase: PhasePlan, earlier: TrainedModel | None, checkpointer: Checkpointer | None
) -> TrainedModel:
    ready = prepare_phase(features, phase, earlier.head if earlier else None)
    rows, facts = ready.features, dict[str, Any]()
    keep = checkpointer.keep if checkpointer else None
    if features.plan.head.kind == "ridge":
        trained, facts = _solve_ridge(features, ready, keep)
    else:
        before = earlier.trained if earlier else TrainingResult([], 0)
        trained = descend(
            ready.module,
            rows.train,
            rows.val,
            phase.recipe,
            groups=layer_groups(ready.trunk.stages.values(), ready.head, phase.recipe.layer_decay),
            phase=Phase(number, phase.boundary.freeze, before, checkpointer.identity if checkpointer else ""),
            checkpoint=checkpointer.checkpoint if checkpointer else None,
            on_epoch=keep,
            progress=features.context.progress,
        )
        fold(ready.trunk)
    frozen_pass = rows.frozen_pass + earlier.frozen_pass if earlier else rows.frozen_pass
    return TrainedModel(features, ready, trained, facts, frozen_pass)


def _describe(boundary: Boundary, backbone: Backbone) -> str:
    if boundary.freeze == boundary.end:
        return "the head, on cached features"
    first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze) + 1
    return f"{', '.join(backbone.stage_names[first : backbone.position(boundary.end) + 1])} thawed"


def make_head(settings: HeadSettings, trunk: nn.Module, examples: Examples, classes: int) -> Head:
    """Return a new head for the trunk's outputs, standardized by the training split."""
    mean, std = moments(trunk, examples, settings.seed)
    torch.manual_seed(settings.seed)
    head = Head(HeadSpec(settings.kind, mean.numel(), classes, settings.hidden_width, settings.dropout))
    head.standardize(mean, std)
    return head


def _solve_ridge(
    features: Features, ready: Trainable, keep: Callable[[list[Epoch]], None] | None
) -> tuple[TrainingResult, dict[str, Any]]:
    rows = ready.features
    solved = solve(ready.head, rows.train, rows.val, features.context.progress, prior=rows.prior)
    freeze = features.plan.network.boundary.freeze
    epoch = Epoch(
        1, freeze, solved.train_loss, solved.train_accuracy, solved.val_loss, solved.val_accuracy,
        0, solved.seconds,
    )  # fmt: skip
    if keep is not None:
        keep([epoch])
    return TrainingResult([epoch], 1), {"l2": solved.strength, "temperature": solved.temperature}
