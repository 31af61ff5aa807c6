"""Extract features: the rows of each phase's training and validation images, and of the test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from frostline._utils.progress import log
from frostline.data.augment import THE_IMAGE, View
from frostline.data.dataset import ImageDataset
from frostline.data.drawn_objects import load_prior
from frostline.features.dataset import LiveFeatures
from frostline.features.extract import FrozenPass, fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from frostline.models.boundary import NONE
from frostline.pipeline.context import Context, FeatureSettings
from frostline.pipeline.phases import PhasePlan
from frostline.pipeline.resolve import Plan
from frostline.training.examples import Examples, Rows, balanced_weights


class RowSource(Protocol):
    """A source of rows: `read_rows`, or an in-memory cache that replaces it."""

    def __call__(
        self,
        datasets: Sequence[ImageDataset],
        forward: FastForward,
        settings: FeatureSettings,
        context: Context,
        view: View = THE_IMAGE,
    ) -> tuple[list[Rows], FrozenPass]:
        """Return each data set's rows, and the statistics of the frozen pass."""


def read_rows(
    datasets: Sequence[ImageDataset],
    forward: FastForward,
    settings: FeatureSettings,
    context: Context,
    view: View = THE_IMAGE,
) -> tuple[list[Rows], FrozenPass]:
    """Return each data set's rows: cached features below a boundary, live pixels when nothing is frozen."""
    if forward.frozen.boundary.freeze == NONE:
        if view.number == 0:
            log.info("frozen pass: no stage is frozen, so every epoch runs all of them")
        return [LiveFeatures(dataset, forward, view) for dataset in datasets], FrozenPass(0, 0, 0.0, 0.0)
    key = feature_key(settings.network, forward.frozen, forward.preprocess, settings.dtype)
    if view.number:
        log.debug("view %d of %d", view.number + 1, settings.views)
    rows, done = fill(
        datasets,
        forward,
        key,
        context.cache,
        view=view,
        progress=context.progress,
        workers=settings.workers,
        engine=context.engine,
    )
    if done.images_per_second:
        log.debug("frozen pass: %.1f s, %.0f images/s", done.seconds, done.images_per_second)
    return list(rows), done


@dataclass(frozen=True)
class PhaseFeatures:
    """The frozen stages of one phase and the rows they produce."""

    forward: FastForward
    train: Examples
    val: Examples
    frozen_pass: FrozenPass  # over the data set, without the drawn images
    prior: Examples | None = None  # drawn images, for the covariance prior of a closed-form head


@dataclass(frozen=True)
class Features:
    """The features of a plan's images, computed or read from the cache when a phase needs them."""

    plan: Plan
    context: Context
    source: RowSource = read_rows

    def of(self, phase: PhasePlan) -> PhaseFeatures:
        """Run the frozen stages of a phase over the training and validation images."""
        plan = self.plan
        forward = plan.network.forward(self.context, phase.boundary)
        (train_rows, val_rows), frozen_pass = self._rows((plan.splits.train, plan.splits.val), forward)
        views = []
        for view in phase.views:
            (row,), done = self._rows((plan.splits.train,), forward, view)
            views.append(row)
            frozen_pass += done
        prior = None
        if plan.head.prior:
            drawn = load_prior()
            (rows,), _ = self._rows((drawn,), forward)
            prior = Examples(rows, drawn.labels)
        labels, weights = plan.splits.train.labels, None
        if plan.config.class_weights == "balanced":
            weights = balanced_weights(labels, len(plan.splits.train.class_names))
        train = Examples(train_rows, labels, tuple(views), weights)
        val = Examples(val_rows, plan.splits.val.labels, class_weights=weights)
        return PhaseFeatures(forward, train, val, frozen_pass, prior)

    def test(self, forward: FastForward) -> tuple[Examples, FrozenPass]:
        """Run the frozen stages over the test split, once every choice is made."""
        test, settings = self.plan.splits.test, self.plan.network.feature_settings.float32
        (rows,), done = self.source((test,), forward, settings, self.context)
        return Examples(rows, test.labels), done

    def _rows(
        self, datasets: Sequence[ImageDataset], forward: FastForward, view: View = THE_IMAGE
    ) -> tuple[list[Rows], FrozenPass]:
        return self.source(datasets, forward, self.plan.network.feature_settings, self.context, view)


def extract(plan: Plan, context: Context, source: RowSource = read_rows) -> Features:
    """Return the features of a plan's images.

    Parameters
    ----------
    source : callable
        Replaces the feature cache, for repeated trainings on the same rows.
    """
    return Features(plan, context, source)
