"""Settings that were left open: by the boundary, the number of images and the optimizer."""

import math

from frostline.config import TrainConfig
from frostline.models.boundary import NONE, Boundary

THAW_LR = {"adamw": 5e-4, "sgd": 1e-2}
# A compromise: short trainings and random weights would like about twice as much (bench/choices.py).
PEAK_LR = {("adamw", "linear"): 6e-4, ("adamw", "mlp"): 3e-4, ("sgd", "linear"): 4e-3, ("sgd", "mlp"): 1e-2}
EPOCHS, MOST_EPOCHS = 12, 100
CLIP_NORM = 1.0  # of thawed stages: rare large gradients would undo what pre-training gave
FEWEST_STEPS = 200  # a head on few images needs more epochs: 12 steps leave it half trained (bench/few_labels.py)
PATIENCE = 5
# Up to so many training images the head in closed form is as good or better, and quicker (bench/few_labels.py).
CLOSED_FORM_IMAGES = 2_000
# Settings of a head that is trained step by step: who gives one wants such a head.
STEPWISE = (
    "epochs", "head_epochs", "batch_size", "optimizer", "momentum", "lr", "head_lr", "lr_schedule", "warm_up",
    "weight_decay", "label_smoothing", "ema", "mixup", "cutmix", "compile", "patience",
)  # fmt: skip


def with_defaults(config: TrainConfig, boundary: Boundary, images: int) -> TrainConfig:
    """Choose the head and how it is trained where that was left open: by the boundary and the number of images."""
    thaws = boundary.end != boundary.freeze
    config = config.model_copy(update={"head": _head(config, images, thaws=thaws)})
    first = trains_head_first(config, boundary)
    epochs = config.epochs or usual_epochs(images, config.batch_size, head_only=not thaws)
    head_epochs = config.head_epochs or usual_epochs(images, config.batch_size, head_only=True)
    chosen = {
        "lr": None if config.head == "ridge" else peak_lr(config, thaws=thaws),
        "head_epochs": head_epochs if first else None,
        "head_lr": config.head_lr or PEAK_LR[config.optimizer, config.head] if first else None,
        "clip_norm": None if config.head == "ridge" else _clip_norm(config, thaws=thaws),
        # With nothing frozen a view costs nothing beyond its drawing: every epoch gets another one.
        "views": config.views or (epochs if config.freeze == NONE else 1),
        "epochs": None if config.head == "ridge" else epochs,
        # Thawed stages get worse before they get better, and only the end of the schedule shows what they came to.
        "patience": None if config.head == "ridge" else config.patience or (epochs if thaws else _patience(epochs)),
    }
    return config.model_copy(update=chosen)


def _head(config: TrainConfig, images: int, *, thaws: bool) -> str:
    """Return the head asked for; by default a linear one, in closed form where that does better and nothing forbids."""
    fields = TrainConfig.model_fields
    if config.head != "auto":
        return config.head
    if thaws or images > CLOSED_FORM_IMAGES or any(getattr(config, name) != fields[name].default for name in STEPWISE):
        return "linear"
    return "ridge"


def stepwise(config: TrainConfig) -> TrainConfig:
    """Return settings whose head is trained step by step: a linear one where that was left open."""
    return config.model_copy(update={"head": "linear"}) if config.head == "auto" else config


def trains_head_first(config: TrainConfig, boundary: Boundary) -> bool:
    """Whether a head is trained on frozen stages before any is thawed."""
    return boundary.end != boundary.freeze and config.schedule != "together"


def _patience(epochs: int) -> int:
    return max(PATIENCE, epochs // 4)


def peak_lr(config: TrainConfig, *, thaws: bool) -> float:
    """Return the learning rate asked for, or the one that suits optimizer and head, or thawed stages."""
    if config.lr is not None:
        return config.lr
    return THAW_LR[config.optimizer] if thaws else PEAK_LR[config.optimizer, config.head]


def _clip_norm(config: TrainConfig, *, thaws: bool) -> float:
    return config.clip_norm if config.clip_norm is not None else CLIP_NORM if thaws else 0.0


def usual_epochs(images: int, batch_size: int, *, head_only: bool) -> int:
    """Return 12, or for a head alone on few images as many as make 200 gradient steps, at most 100."""
    steps = math.ceil(images / batch_size)
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps))) if head_only else EPOCHS
