"""One trial of a search: some settings, trained on some of the training images, judged by the validation split."""

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any

from frostline._utils.device import describe_device, seed_everything
from frostline.config import TrainConfig
from frostline.features.forward import FastForward
from frostline.models.boundary import Boundary, Frozen, make_boundary
from frostline.pipeline.context import Context
from frostline.pipeline.defaults import with_defaults
from frostline.pipeline.extract import Features, extract
from frostline.pipeline.resolve import Plan, check_network
from frostline.pipeline.train import prepare_phase
from frostline.studies.halving import amounts, nested
from frostline.studies.row_cache import RowCache
from frostline.studies.space import Choice, Space
from frostline.training.optim import layer_groups
from frostline.training.ridge import solve
from frostline.training.trainer import Phase, TrainingResult, measure, train


@dataclass(frozen=True)
class TrialResult:
    """What a training came to: accuracy on the whole validation split, and the epoch that has it."""

    accuracy: float
    epochs: int
    seconds: float


class Trials:
    """Trains with any settings of a space, on any of a few amounts of images; never reads the test split.

    Parameters
    ----------
    open_config : TrainConfig
        As asked for: what it leaves open is chosen anew for each trial and amount, as train chooses it.
    plan : Plan
        Its validation split judges.
    context : Context
    space : Space

    Attributes
    ----------
    amounts : tuple of int
        Numbers of training images, ascending; the last is all.
    device : str
        Where they run, in words.
    """

    def __init__(self, open_config: TrainConfig, plan: Plan, context: Context, space: Space) -> None:
        fixed = ("model", "weights", "weights_sha256", "freeze", "taps", "image_size", "workers")
        self._open = open_config.model_copy(update={name: getattr(plan.config, name) for name in fixed})
        network, splits = plan.network, plan.splits
        self.amounts = amounts(len(splits.train), len(splits.train.class_names))
        self._positions = nested(splits.train.labels, self.amounts, plan.config.seed)
        widest = Frozen(network.backbone, self._widest(space, plan))
        self._shelf = RowCache(widest, network.preprocess.image_size)
        # The frozen stages run here, over the training and validation images.
        forward = FastForward(widest, network.preprocess, context.device)
        self._shelf((splits.train, splits.val), forward, plan.config, context)
        self._plan, self._context = plan, replace(context, progress=None)
        self.device = describe_device(context.device)

    def _widest(self, space: Space, plan: Plan) -> Boundary:
        """Return the boundary with the most taps that a trial may read, every stage frozen."""
        choice, taps = space.get("taps"), tuple(self._open.taps)
        if isinstance(choice, Choice):
            taps = max((tuple(option["taps"]) for option in choice.options.values()), key=len)
        return make_boundary(plan.network.backbone, plan.config.freeze, taps).closed

    def config(self, changes: dict[str, Any], images: int) -> TrainConfig:
        """Return the settings of a trial with nothing left open.

        Raises
        ------
        ConfigError
            When they contradict each other.
        """
        config = TrainConfig(**self._open.model_dump() | changes)
        check_network(config)
        return with_defaults(config, self._boundary(config), images)

    def _boundary(self, config: TrainConfig) -> Boundary:
        return make_boundary(self._plan.network.backbone, config.freeze, tuple(config.taps))

    def run(self, changes: dict[str, Any], images: int) -> TrialResult:
        """Train on one of the amounts of images.

        On all of them it is the training that `frostline.fit` does, whose best epoch on validation counts. On fewer the
        last epoch counts, and validation is read once; the strength of a head in closed form is chosen on it always.

        Raises
        ------
        DivergedError
            When the loss is no longer finite.
        """
        begun = time.perf_counter()
        config = self.config(changes, images)
        whole = images == self.amounts[-1]
        features = self._features(config, images)
        seed_everything(config.seed)
        head, trained, accuracy = None, TrainingResult([], 0), math.nan
        for number, phase in enumerate(features.plan.phases):
            ready = prepare_phase(features, phase, head)
            head, rows = ready.head, ready.features
            if config.head == "ridge":
                solved = solve(head, rows.train, rows.val, prior=rows.prior, quiet=True)
                return TrialResult(solved.val_accuracy, 1, time.perf_counter() - begun)
            trained = train(
                ready.module,
                rows.train,
                rows.val if whole else None,
                phase.recipe,
                groups=layer_groups(ready.trunk.stages.values(), head, config.layer_decay),
                phase=Phase(number, phase.boundary.freeze, trained),
                quiet=True,
            )
            accuracy = trained.history[trained.best_epoch - 1].val_accuracy
        if not whole:
            accuracy = measure(ready.module, rows.val)[1]
        return TrialResult(accuracy, len(trained.history), time.perf_counter() - begun)

    def _features(self, config: TrainConfig, images: int) -> Features:
        """Return what a trial is trained on; stages that it trains are copies."""
        network, splits, boundary = self._plan.network, self._plan.splits, self._boundary(config)
        thaws = boundary.freeze != boundary.end
        backbone = copy.deepcopy(network.backbone) if thaws else network.backbone
        some = replace(splits, train=splits.train.subset(self._positions[images]))
        trial = Plan(replace(network, config=config, backbone=backbone, boundary=boundary), some)
        return extract(trial, self._context, self._shelf)
