"""The phases of a training: for each a boundary, optimization hyperparameters and views of the images."""

from dataclasses import dataclass, replace

from frostline.config import TrainConfig
from frostline.data.augment import View, make_augment
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Boundary
from frostline.pipeline.defaults import EPOCHS, PATIENCE
from frostline.training.trainer import Recipe


@dataclass(frozen=True)
class PhasePlan:
    """One phase.

    Attributes
    ----------
    boundary : Boundary
        Frozen and thawed stages in this phase.
    recipe : Recipe
    views : list of View
        Of the training images, beside the images themselves: as many as the epochs use.
    batch_norm, amp : bool
        Normalize thawed convolutions; use mixed precision.
    """

    boundary: Boundary
    recipe: Recipe
    views: list[View]
    batch_norm: bool = False
    amp: bool = False


def plan_phases(config: TrainConfig, backbone: Backbone, boundary: Boundary) -> list[PhasePlan]:
    """Return the phases of a training from resolved settings: first the head, then thawed stages."""
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
        lr=config.lr or 0.0,  # a ridge head has none
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
    """Return the boundaries of a run's phases; the last is ``boundary`` itself, and the only one with nothing to thaw.

    Parameters
    ----------
    schedule : str
        ``head-first``: the head on frozen features, then all thawed stages with it (Kumar et al. 2022,
        arXiv:2202.10054); ``gradual``: after the head one more stage per phase, from the top (Howard & Ruder 2018,
        arXiv:1801.06146); ``together``: one phase for thawed stages and head.
    """
    if boundary.freeze == boundary.end or schedule == "together":
        return [boundary]
    if schedule == "head-first":
        return [boundary.closed, boundary]
    first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze)
    depths = range(backbone.position(boundary.end) - 1, first - 1, -1)
    thawing = [Boundary(backbone.stage_names[depth], boundary.taps, boundary.end) for depth in depths]
    return [boundary.closed, *thawing, *([boundary] if boundary.freeze == NONE else [])]


def shares(epochs: int, phases: int) -> list[int]:
    """Split epochs over phases as evenly as possible, at least one each; later phases get the remainder."""
    return [max(1, epochs * (number + 1) // phases - epochs * number // phases) for number in range(phases)]
