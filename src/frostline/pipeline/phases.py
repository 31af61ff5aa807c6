"""The phases of a training: which boundary, which recipe, which views, one after the other."""

from dataclasses import dataclass, replace

from frostline.config import TrainConfig
from frostline.data.augment import View, make_augment
from frostline.models.backbone import Backbone
from frostline.models.boundary import Boundary
from frostline.pipeline.defaults import EPOCHS, PATIENCE, PEAK_LR, peak_lr
from frostline.training.thaw import boundaries, shares
from frostline.training.trainer import Recipe


@dataclass(frozen=True)
class PhasePlan:
    """One phase: what is frozen meanwhile, how the rest is trained, and which views of the training images are seen.

    Attributes
    ----------
    views : list of View
        Beside the images themselves, as many as the epochs reach.
    """

    boundary: Boundary
    recipe: Recipe
    views: list[View]


def phases_of(config: TrainConfig, backbone: Backbone, boundary: Boundary) -> list[PhasePlan]:
    """Return the phases of a training whose settings leave nothing open: a head alone before stages are thawed."""
    cuts = boundaries(backbone, boundary, config.schedule)
    thawing = [cut for cut in cuts if cut.freeze != cut.end]
    if not thawing:
        return [_phase(config, cuts[0], recipe_of(config))]
    epochs = shares(config.epochs or EPOCHS, len(thawing))
    steps = [_phase(config, cut, replace(recipe_of(config), epochs=n)) for cut, n in zip(thawing, epochs, strict=True)]
    if len(cuts) == len(thawing):
        return steps
    head = replace(
        recipe_of(config),
        epochs=config.head_epochs or EPOCHS,
        lr=config.head_lr or PEAK_LR[config.optimizer, config.head],
        patience=max(PATIENCE, (config.head_epochs or EPOCHS) // 4),
        clip_norm=0.0, ema=0.0, mixup=0.0, cutmix=0.0, compile=False,
    )  # fmt: skip
    return [PhasePlan(cuts[0], head, []), *steps]


def _phase(config: TrainConfig, boundary: Boundary, recipe: Recipe) -> PhasePlan:
    augment = make_augment(config.augment)
    views = config.views or 1
    reached = views if config.head == "ridge" else min(views, recipe.epochs)
    return PhasePlan(boundary, recipe, [View(number, config.seed, augment) for number in range(1, reached)])


def recipe_of(config: TrainConfig) -> Recipe:
    """Return how the last phase is trained, by settings that leave nothing open."""
    return Recipe(
        epochs=config.epochs or EPOCHS,
        batch_size=config.batch_size,
        lr=0.0 if config.head == "ridge" else peak_lr(config, thaws=False),
        seed=config.seed,
        patience=config.patience or PATIENCE,
        optimizer=config.optimizer,
        lr_schedule=config.lr_schedule,
        warm_up=config.warm_up,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        label_smoothing=config.label_smoothing,
        clip_norm=config.clip_norm or 0.0,
        ema=config.ema,
        mixup=config.mixup,
        cutmix=config.cutmix,
        compile=config.compile,
    )
