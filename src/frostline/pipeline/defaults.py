"""Defaults that depend on the boundary, the number of images and the optimizer."""

import math

from frostline.config import TrainConfig
from frostline.models.boundary import NONE, Boundary

THAW_LR = {"adamw": 5e-4, "sgd": 1e-2}
# A compromise: about twice as much suits short trainings and random weights (bench/choices.py).
PEAK_LR = {("adamw", "linear"): 6e-4, ("adamw", "mlp"): 3e-4, ("sgd", "linear"): 4e-3, ("sgd", "mlp"): 1e-2}
EPOCHS, MOST_EPOCHS = 12, 100
CLIP_NORM = 1.0  # of thawed stages: rare large gradients would destroy pre-trained weights
FEWEST_STEPS = 200  # a head on few images needs more epochs (bench/few_labels.py)
PATIENCE = 5
# Up to this many training images a closed-form head is as good or better, and faster (bench/few_labels.py).
CLOSED_FORM_IMAGES = 2_000
# Settings of gradient descent: giving one of them rules out a closed-form head.
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
        # With nothing frozen a view costs only its augmentation: every epoch gets another one.
        "views": config.views or (epochs if config.freeze == NONE else 1),
        "epochs": None if config.head == "ridge" else epochs,
        "patience": None if config.head == "ridge" else config.patience or patience,
    }
    return config.model_copy(update=resolved)


def _head(config: TrainConfig, images: int, *, thaws: bool) -> str:
    """Return the requested head; by default a linear one, in closed form where that is better and possible."""
    fields = TrainConfig.model_fields
    if config.head != "auto":
        return config.head
    if thaws or images > CLOSED_FORM_IMAGES or any(getattr(config, name) != fields[name].default for name in STEPWISE):
        return "linear"
    return "ridge"


def stepwise(config: TrainConfig) -> TrainConfig:
    """Return settings with a head that is trained by gradient descent: linear by default."""
    return config.model_copy(update={"head": "linear"}) if config.head == "auto" else config


def trains_head_first(config: TrainConfig, boundary: Boundary) -> bool:
    """Whether a head is trained on frozen stages before any is thawed."""
    return boundary.end != boundary.freeze and config.schedule != "together"


def peak_lr(config: TrainConfig, *, thaws: bool) -> float:
    """Return the requested learning rate, or the default for optimizer and head, or for thawed stages."""
    if config.lr is not None:
        return config.lr
    return THAW_LR[config.optimizer] if thaws else PEAK_LR[config.optimizer, config.head]


def usual_epochs(images: int, batch_size: int, *, head_only: bool) -> int:
    """Return 12, or for a head alone on few images enough for 200 gradient steps, at most 100."""
    steps = math.ceil(images / batch_size)
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps))) if head_only else EPOCHS
