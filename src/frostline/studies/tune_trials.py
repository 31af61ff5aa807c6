"""Trials of a search: some settings, trained on some of the training images, evaluated on the validation split.

The number of images grows by asynchronous successive halving (Li et al. 2020, arXiv:1810.05934): every trial starts
with few and is promoted to more while it is in the best quarter of the trials with as many. The resource is images, not
epochs: each rung is a complete training with its own learning-rate schedule. Optuna's ``SuccessiveHalvingPruner``
promotes by the same rule, but also counts interrupted trials, so a resumed search would differ from an uninterrupted
one, and ignores the trials of studies that were started without it.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline._utils.device import describe_device, seed_everything
from frostline.config import TrainConfig
from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset
from frostline.data.splits import limited
from frostline.features.dataset import CachedFeatures
from frostline.features.extract import FrozenPass
from frostline.features.forward import FastForward
from frostline.models.boundary import Boundary, Frozen, make_boundary
from frostline.pipeline.context import Context, FeatureSettings
from frostline.pipeline.extract import Features, extract, read_rows
from frostline.pipeline.in_force import in_force
from frostline.pipeline.phases import plan_phases, with_defaults
from frostline.pipeline.resolve import Plan, check_network
from frostline.pipeline.train import prepare_phase
from frostline.studies.tune_space import Choice, Space, Values, settings
from frostline.training.examples import Rows
from frostline.training.optim import layer_groups
from frostline.training.ridge import solve
from frostline.training.trainer import Phase, TrainingResult, predict_logits, train

REDUCTION_FACTOR = 4  # each rung has four times as many images, and the best quarter is promoted to it
MOST_RUNGS = 4  # 1/64, 1/16, 1/4 and all images
FEWEST_IMAGES = 500  # results with fewer hardly predict those with many
FEWEST_PER_CLASS = 20


@dataclass(frozen=True)
class TrialResult:
    """Result of one training: accuracy on the validation split, epochs (0 in closed form) and seconds.

    ``correct`` says of each validation image whether its prediction is correct, bool (N,); only with all images.
    """

    accuracy: float
    epochs: int
    seconds: float
    correct: NDArray[np.bool_] | None = None


class Trials:
    """Trains with any settings of a search space on the images of any rung; the test split is never read.

    Parameters
    ----------
    open_config : TrainConfig
        As requested: unset options are resolved for each trial and rung, as `frostline.fit` resolves them.
    plan : Plan
        Network and splits; trials are evaluated on its validation split.
    context : Context
    space : Space

    Attributes
    ----------
    rungs : tuple of int
        Numbers of training images, ascending; the last is all of them.
    images : dict of str to str
        Fingerprints of the training and the validation split.
    device : str
        Description of the device.
    """

    def __init__(self, open_config: TrainConfig, plan: Plan, context: Context, space: Space) -> None:
        fixed = ("model", "weights", "weights_sha256", "freeze", "taps", "image_size", "workers")
        self._open = open_config.model_copy(update={name: getattr(plan.config, name) for name in fixed})
        network, splits = plan.network, plan.splits
        self.rungs = make_rungs(len(splits.train), len(splits.train.class_names))
        self._positions = nested_subsets(splits.train.labels, self.rungs, plan.config.seed)
        widest = Frozen(network.backbone, self._widest(space, plan))
        self._row_cache = RowCache(widest, network.preprocess.image_size)
        # Run the frozen stages over the training and validation images.
        forward = FastForward(widest, network.preprocess, context.device)
        self._row_cache((splits.train, splits.val), forward, network.feature_settings, context)
        self._plan, self._context, self._space = plan, replace(context, progress=None), space
        self.images = {"train": splits.train.fingerprint, "val": splits.val.fingerprint}
        self.device = describe_device(context.device)

    def _widest(self, space: Space, plan: Plan) -> Boundary:
        """Return the boundary with the most taps of any trial and every stage frozen."""
        choice, taps = space.get("taps"), tuple(self._open.taps)
        if isinstance(choice, Choice):
            taps = max((tuple(option["taps"]) for option in choice.options.values()), key=len)
        return make_boundary(plan.network.backbone, plan.config.freeze, taps).closed

    def config(self, changes: dict[str, Any], images: int) -> TrainConfig:
        """Return the settings of a trial with all options resolved; contradictions raise a ConfigError."""
        config = TrainConfig(**self._open.model_dump() | changes)
        check_network(config)
        return with_defaults(config, self._boundary(config), images)

    def effective(self, values: Values) -> dict[str, Any]:
        """Return the settings in force in a training on all images, as JSON values.

        Trainings with the same are the same: a batch has no more images than there are, an epoch uses one view, and
        stages above the taps do not run.

        Parameters
        ----------
        values : dict
            Of all or a part of the names of the search space.
        """
        images = self.rungs[-1]
        config = TrainConfig(**self._open.model_dump() | settings(self._space, values))
        boundary = self._boundary(config)
        config, thaws = with_defaults(config, boundary, images), boundary.freeze != boundary.end
        phases = plan_phases(config, self._plan.network.backbone, boundary)
        views = 1 + max(len(phase.views) for phase in phases)
        used: dict[str, Any] = {"batch_size": min(config.batch_size, images), "views": views}
        if boundary.taps and not thaws:
            used["freeze"] = boundary.taps[-1]
        names = in_force(config, thaws=thaws) - ({"augment"} if views == 1 else set())
        every = config.model_dump(mode="json") | used
        return {name: value for name, value in every.items() if name in names}

    def _boundary(self, config: TrainConfig) -> Boundary:
        return make_boundary(self._plan.network.backbone, config.freeze, tuple(config.taps))

    def run(self, changes: dict[str, Any], images: int) -> TrialResult:
        """Train on the images of one rung.

        On all images this is the training of `frostline.fit`, and its best epoch on the validation split counts. On
        fewer, the last epoch counts, so the validation split is evaluated once; the penalty of a ridge head is always
        chosen on it. A loss that is no longer finite raises a `DivergedError`.
        """
        begun = time.perf_counter()
        config = self.config(changes, images)
        is_last = images == self.rungs[-1]
        features = self._features(config, images)
        seed_everything(config.seed)
        head, trained = None, TrainingResult([], 0)
        for number, phase in enumerate(features.plan.phases):
            ready = prepare_phase(features, phase, head)
            head, rows = ready.head, ready.features
            if config.head == "ridge":
                solve(head, rows.train, rows.val, prior=rows.prior, quiet=True)
                break
            trained = train(
                ready.module,
                rows.train,
                rows.val if is_last else None,
                phase.recipe,
                groups=layer_groups(ready.trunk.stages.values(), head, phase.recipe.layer_decay),
                phase=Phase(number, phase.boundary.freeze, trained),
                quiet=True,
            )
        correct = predict_logits(ready.module, rows.val).argmax(1).numpy() == rows.val.labels
        seconds = time.perf_counter() - begun
        return TrialResult(float(correct.mean()), len(trained.history), seconds, correct if is_last else None)

    def _features(self, config: TrainConfig, images: int) -> Features:
        """Return the features of a trial; stages that it trains are copies."""
        network, splits, boundary = self._plan.network, self._plan.splits, self._boundary(config)
        thaws = boundary.freeze != boundary.end
        backbone = copy.deepcopy(network.backbone) if thaws else network.backbone
        some = replace(splits, train=splits.train.subset(self._positions[images]))
        trial = Plan(replace(network, config=config, backbone=backbone, boundary=boundary), some)
        return extract(trial, self._context, self._row_cache)


def make_rungs(images: int, classes: int) -> tuple[int, ...]:
    """Return the numbers of training images of the rungs, ascending; the last is all of them."""
    rungs = [images]
    while len(rungs) < MOST_RUNGS and rungs[0] // REDUCTION_FACTOR >= max(FEWEST_IMAGES, FEWEST_PER_CLASS * classes):
        rungs.insert(0, rungs[0] // REDUCTION_FACTOR)
    return tuple(rungs)


def nested_subsets(labels: NDArray[np.int64], counts: Sequence[int], seed: int) -> dict[int, NDArray[np.int64]]:
    """Return stratified positions for each number of images; smaller subsets are part of larger ones."""
    positions = np.arange(len(labels))
    drawn = {}
    for count in sorted(counts, reverse=True):
        positions = positions[limited(labels[positions], count, seed)]
        drawn[count] = positions
    return drawn


def should_promote(accuracy: float, others: Sequence[float]) -> bool:
    """Whether an accuracy is in the best quarter of all on a rung, itself included; the best always is."""
    best = sorted([accuracy, *others], reverse=True)
    return accuracy >= best[max(1, len(best) // REDUCTION_FACTOR) - 1]


class RowCache:
    """Features in memory that are read and verified once for all trials (`frostline.pipeline.extract.RowSource`).

    The features of the last taps are columns of the features of all taps, so the frozen stages run once for all of
    them. With thawed stages the features differ and are read from their own store.

    Parameters
    ----------
    frozen : Frozen
        Every stage frozen, with the most taps of any trial.
    image_size : int
    """

    def __init__(self, frozen: Frozen, image_size: int) -> None:
        self._frozen = frozen
        self._widths = frozen.widths(image_size)
        self._cached: dict[int, CachedFeatures] = {}  # by the view's number

    def __call__(
        self,
        datasets: Sequence[ImageDataset],
        forward: FastForward,
        settings: FeatureSettings,
        context: Context,
        view: View = THE_IMAGE,
    ) -> tuple[list[Rows], FrozenPass]:
        """Return the features of each data set."""
        boundary = forward.frozen.boundary
        if not self._has(boundary):
            return read_rows(datasets, forward, settings, context, view)
        total = sum(map(len, datasets))
        done = FrozenPass(total, total, 0.0, 0.0)
        cached = self._cached.get(view.number)
        if cached is None or any(cached.lacks(dataset.row_ids) for dataset in datasets):
            wide = FastForward(self._frozen, forward.preprocess, forward.device)
            rows, done = read_rows(datasets, wide, settings, context, view)
            cached = next(row for row in rows if isinstance(row, CachedFeatures))
            self._cached[view.number] = cached
        columns = self._columns(boundary)
        return [cached.of(dataset.row_ids, columns) for dataset in datasets], done

    def _has(self, boundary: Boundary) -> bool:
        """Whether the features of a boundary are the last columns of the cached ones."""
        same = boundary.freeze == boundary.end == self._frozen.boundary.end
        last = tuple(self._widths)[-len(boundary.taps) :] if boundary.taps else ()
        return same and (boundary.taps == last if self._widths else not boundary.taps)

    def _columns(self, boundary: Boundary) -> slice | None:
        """Return the columns of the boundary's taps, or of the last stage where it has none."""
        if not self._widths:
            return None
        read = boundary.taps or (boundary.end,)
        return slice(sum(self._widths.values()) - sum(self._widths[name] for name in read), None)
