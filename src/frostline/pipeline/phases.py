"""The phases of a training: boundary, optimization hyperparameters and views of each."""

import math
from dataclasses import dataclass, replace

from frostline.config import TrainConfig
from frostline.data.augment import View, make_augment
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Boundary
from frostline.training.trainer import Recipe

THAW_LR = {"adamw": 5e-4, "sgd": 1e-2}
# A compromise: about twice as much suits short trainings and random weights (bench/choices.py).
PEAK_LR = {("adamw", "linear"): 6e-4, ("adamw", "mlp"): 3e-4, ("sgd", "linear"): 4e-3, ("sgd", "mlp"): 1e-2}
EPOCHS, MOST_EPOCHS = 12, 100
CLIP_NORM = 1.0  # of thawed stages: rare large gradients would destroy pre-trained weights
# Networks whose head has the covariance prior by default. Features of EfficientNet-Lite, which knows photographs, lose
# accuracy with it (bench/own_prior.py).
WITH_PRIOR = ("alexnet",)
FEWEST_STEPS = 200  # a head on few images needs more epochs (bench/few_labels.py)
PATIENCE = 5
# Up to this many training images a closed-form head is as good or better, and faster (bench/few_labels.py).
CLOSED_FORM_IMAGES = 2_000
# Settings of gradient descent: setting any of them rules out a closed-form head.
STEPWISE = (
    "epochs", "head_epochs", "batch_size", "optimizer", "momentum", "lr", "head_lr", "lr_schedule", "warm_up",
    "weight_decay", "label_smoothing", "ema", "mixup", "cutmix", "compile", "patience",
)  # fmt: skip


def with_defaults(config: TrainConfig, boundary: Boundary, images: int) -> TrainConfig:
    """Resolve the head and its optimization hyperparameters by the boundary and the number of images."""
    thaws = boundary.end != boundary.freeze
    config = config.model_copy(update={"head": _head(config, images, thaws=thaws)})
    first = trains_head_first(config, boundary)
    epochs = config.epochs or usual_epochs(images, config.batch_size, head_only=not thaws)
    head_epochs = config.head_epochs or usual_epochs(images, config.batch_size, head_only=True)
    clip_norm = config.clip_norm if config.clip_norm is not None else CLIP_NORM if thaws else 0.0
    # Thawed stages get worse before they improve: early stopping would end their training too soon.
    patience = epochs if thaws else max(PATIENCE, epochs // 4)
    resolved = {
        "lr": None if config.head == "ridge" else peak_lr(config, thaws=thaws),
        "head_epochs": head_epochs if first else None,
        "head_lr": config.head_lr or PEAK_LR[config.optimizer, config.head] if first else None,
        "clip_norm": None if config.head == "ridge" else clip_norm,
        # Without frozen stages a view costs only its augmentation: every epoch gets a new one.
        "views": config.views or (epochs if config.freeze == NONE else 1),
        "epochs": None if config.head == "ridge" else epochs,
        "patience": None if config.head == "ridge" else config.patience or patience,
        "prior": config.prior if config.prior != "auto" else "drawn" if config.model in WITH_PRIOR else "none",
    }
    return config.model_copy(update=resolved)


def _head(config: TrainConfig, images: int, *, thaws: bool) -> str:
    """Return the requested head; by default a linear one, in closed form where that is better and possible."""
    if config.head != "auto":
        return config.head
    fields = TrainConfig.model_fields
    descends = any(getattr(config, name) != fields[name].default for name in STEPWISE)
    return "linear" if thaws or descends or images > CLOSED_FORM_IMAGES else "ridge"


def stepwise(config: TrainConfig) -> TrainConfig:
    """Return settings with ``auto`` replaced by the linear head, which is trained by gradient descent."""
    return config.model_copy(update={"head": "linear"}) if config.head == "auto" else config


def trains_head_first(config: TrainConfig, boundary: Boundary) -> bool:
    """Whether a head is trained on frozen stages before any is thawed."""
    return boundary.end != boundary.freeze and config.schedule != "together"


def peak_lr(config: TrainConfig, *, thaws: bool) -> float:
    """Return the requested learning rate, or the default for thawed stages or for optimizer and head."""
    if config.lr is not None:
        return config.lr
    return THAW_LR[config.optimizer] if thaws else PEAK_LR[config.optimizer, config.head]


def usual_epochs(images: int, batch_size: int, *, head_only: bool) -> int:
    """Return 12 epochs, or for a head alone on few images enough for 200 gradient steps, at most 100."""
    steps = math.ceil(images / batch_size)
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps))) if head_only else EPOCHS


@dataclass(frozen=True)
class PhasePlan:
    """One phase of a training."""

    boundary: Boundary
    recipe: Recipe
    views: list[View]  # of the training images, without the images themselves; as many as the epochs use
    batch_norm: bool = False  # normalize thawed convolutions
    amp: bool = False  # mixed precision


def plan_phases(config: TrainConfig, backbone: Backbone, boundary: Boundary) -> list[PhasePlan]:
    """Return the phases of a training with resolved settings: first the head, then thawed stages."""
    recipe, augment, views = recipe_of(config), make_augment(config.augment), config.views or 1
    further = [View(number, config.seed, augment) for number in range(1, views)]

    def phase(cut: Boundary, epochs: int) -> PhasePlan:
        used = views if config.head == "ridge" else min(views, epochs)
        return PhasePlan(cut, replace(recipe, epochs=epochs), further[: used - 1], config.batch_norm, config.amp)

    cuts = boundaries(backbone, boundary, config.schedule)
    thawing = [cut for cut in cuts if cut.freeze != cut.end]
    if not thawing:
        return [phase(cuts[0], recipe.epochs)]
    steps = [phase(cut, epochs) for cut, epochs in zip(thawing, shares(recipe.epochs, len(thawing)), strict=True)]
    if len(cuts) == len(thawing):
        return steps
    epochs = config.head_epochs or EPOCHS
    head = replace(
        recipe, epochs=epochs, lr=config.head_lr or recipe.lr, patience=max(PATIENCE, epochs // 4),
        clip_norm=0.0, ema=0.0, mixup=0.0, cutmix=0.0, compile=False,
    )  # fmt: skip
    return [PhasePlan(cuts[0], head, [], amp=config.amp), *steps]


def recipe_of(config: TrainConfig) -> Recipe:
    """Return the optimization hyperparameters of the last phase from resolved settings."""
    return Recipe(
        epochs=config.epochs or EPOCHS,
        batch_size=config.batch_size,
        lr=config.lr or 0.0,  # unset for a ridge head
        seed=config.seed,
        patience=config.patience or PATIENCE,
        optimizer=config.optimizer,
        lr_schedule=config.lr_schedule,
        warm_up=config.warm_up,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        layer_decay=config.layer_decay,
        clip_norm=config.clip_norm or 0.0,
        ema=config.ema,
        mixup=config.mixup,
        cutmix=config.cutmix,
        compile=config.compile,
    )


def boundaries(backbone: Backbone, boundary: Boundary, schedule: str) -> list[Boundary]:
    """Return the boundaries of a run's phases, ``boundary`` itself last.

    Parameters
    ----------
    schedule : str
        ``head-first``: the head on frozen features, then all thawed stages with it (Kumar et al. 2022,
        arXiv:2202.10054); ``gradual``: after the head one more stage per phase, from the top (Howard & Ruder 2018,
        arXiv:1801.06146); ``together``: one phase. Without thawed stages there is one phase.
    """
    if boundary.freeze == boundary.end or schedule == "together":
        return [boundary]
    if schedule == "head-first":
        return [boundary.closed, boundary]
    first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze)
    depths = range(backbone.position(boundary.end) - 1, first - 1, -1)
    thawing = [Boundary(backbone.stage_names[depth], boundary.taps, boundary.end) for depth in depths]
    return [boundary.closed, *thawing] + ([boundary] if boundary.freeze == NONE else [])


def shares(epochs: int, phases: int) -> list[int]:
    """Split epochs over phases as evenly as possible, at least one each; later phases get the remainder."""
    return [max(1, epochs * (number + 1) // phases - epochs * number // phases) for number in range(phases)]
