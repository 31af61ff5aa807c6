"""The learning-rate range test: the training loss of increasing learning rates, before a training starts."""

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frostline._utils.device import seed_everything
from frostline._utils.progress import Progress, Silent, log, visible
from frostline._utils.storage import OTHER_OUTPUT, write_bytes
from frostline.config import TrainConfig
from frostline.data.dataset import Splits
from frostline.errors import ConfigError, DivergedError
from frostline.pipeline.context import make_context
from frostline.pipeline.extract import Features, extract
from frostline.pipeline.phases import stepwise, with_defaults
from frostline.pipeline.resolve import Plan, check, resolve
from frostline.pipeline.train import Trainable, prepare_phase
from frostline.training.examples import Batch, Examples
from frostline.training.optim import layer_groups, make_optimizer
from frostline.training.trainer import Recipe, gradient_steps, mixed_batches, train

SMOOTHING = 0.9
EXPLODED = 4.0  # times the lowest smoothed loss: the test ends
TOLERANCE = 0.05  # relative difference of two losses that count as equal
FEWEST_STEPS = 10


@dataclass(frozen=True)
class Span:
    """The learning rates to try: ``steps`` of them from ``lowest`` to ``highest``, evenly spaced on a log scale."""

    lowest: float = 1e-6
    highest: float = 1.0
    steps: int = 100

    def __post_init__(self) -> None:
        if not 0 < self.lowest < self.highest < math.inf:
            raise ConfigError(
                f"--lowest {self.lowest:g} --highest {self.highest:g}: expected two rates above 0, the lowest first."
            )
        if self.steps < FEWEST_STEPS:
            raise ConfigError(f"--steps {self.steps}: expected {FEWEST_STEPS} or more, one rate each.")

    @property
    def rates(self) -> NDArray[np.float64]:
        """The rates (steps,), ascending."""
        return np.geomspace(self.lowest, self.highest, self.steps)


@dataclass(frozen=True)
class RangeTest:
    """The losses, up to the learning rate at which they exploded.

    Attributes
    ----------
    rates, losses, smoothed : ndarray of float64, shape (N,)
        Of each step: learning rate, loss in nats before the step, and its moving average.
    steepest : float or None
        The rate at which the smoothed loss falls fastest on a log scale; ``None`` when it falls by less than
        `TOLERANCE`, for example on a head that is already trained.
    tenth : float
        A tenth of the highest rate whose smoothed loss is within `TOLERANCE` of the lowest; more robust on a flat curve
        than the position of the minimum.
    moot : bool
        Whether a run with the same settings fits its head in closed form, without a learning rate: the test is that of
        a linear head, which only a run with that head uses.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    steepest: float | None
    tenth: float
    moot: bool = False

    @property
    def suggestion(self) -> float:
        """The suggested learning rate: ``tenth``, which is defined for every curve."""
        return self.tenth


def find_lr(
    config: TrainConfig,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    splits: Splits | None = None,
) -> RangeTest:
    """Run the learning-rate range test (Smith 2017, arXiv:1506.01186) on the last phase of a training.

    That is the head when no stage is thawed. Before a test of thawed stages the head is trained as in a run's first
    phase, unless ``schedule`` is ``together``; intermediate phases of ``gradual`` are skipped. Only the training split
    is used. Nothing is written but the feature cache. Where a run would fit its head in closed form, a warning says so,
    and a linear head is tested.

    Parameters
    ----------
    config : TrainConfig
        As for `frostline.fit`; ``lr`` and ``lr_schedule`` are not used.
    lowest, highest : float
        First and last learning rate.
    steps : int
        Number of rates, one gradient step each.
    cache_dir : path, optional
        The feature cache.
    progress : Progress, optional
        Draws bars.
    splits : Splits, optional
        A data set in memory; ``config.data`` is then only its name.

    Returns
    -------
    RangeTest
        The losses and the ``suggestion``.

    Raises
    ------
    DivergedError
        When the loss is not finite before the first step.
    FrostlineError
        For other errors caused by user input or the environment.
    """
    if config.head == "ridge":
        raise ConfigError("--head ridge is fitted in closed form and has no learning rate: choose linear or mlp.")
    span, requested, config = Span(lowest, highest, steps), config, stepwise(config)
    check(config, splits=splits)
    context = make_context(config.device, cache_dir, visible(progress), config.engine)
    plan = resolve(config, context, splits)
    moot = _is_moot(requested, plan)
    seed_everything(plan.config.seed)
    ready = _last_phase(extract(plan, context))
    log.info(
        "%d learning rates from %g to %g on %s, %s images",
        steps, lowest, highest, ", ".join([*ready.trunk.stages, "the head"]), f"{len(plan.splits.train):,}",
    )  # fmt: skip
    groups = layer_groups(ready.trunk.stages.values(), ready.head, plan.phases[-1].recipe.layer_decay)
    test = range_test(ready.module, ready.features.train, plan.phases[-1].recipe, groups, span, context.progress)
    return replace(test, moot=moot)


def _is_moot(config: TrainConfig, plan: Plan) -> bool:
    """Whether a run fits its head in closed form, without a learning rate; a warning says so."""
    images = len(plan.splits.train)
    if with_defaults(config, plan.network.boundary, images).head != "ridge":
        return False
    log.warning(
        "with %s training images, a run fits its head in closed form by default, which has no learning rate: this test "
        "is of --head linear (--head mlp tests the other one)", f"{images:,}",
    )  # fmt: skip
    return True


def _last_phase(features: Features) -> Trainable:
    """Return the last phase before its first step, with a trained head where a run would have one."""
    phases = features.plan.phases
    if len(phases) == 1:
        return prepare_phase(features, phases[0])
    log.info("training the head on frozen features first")
    first = prepare_phase(features, phases[0])
    train(first.module, first.features.train, None, phases[0].recipe, progress=features.context.progress, quiet=True)
    return prepare_phase(features, phases[-1], first.head)


def range_test(
    module: nn.Module,
    examples: Examples,
    recipe: Recipe,
    groups: Sequence[dict[str, Any]],
    span: Span,
    progress: Progress | None = None,
) -> RangeTest:
    """Train with an increasing learning rate until the loss explodes, then restore the module's weights.

    Parameters
    ----------
    module : nn.Module
        Maps rows (B, ...) to logits (B, classes).
    examples : Examples
        Repeated when they have fewer batches than there are rates.
    recipe : Recipe
        Optimizer, batch size, loss and seed; its learning rate and epochs are not used.
    groups : sequence of dict
        Parameters with a scale of the learning rate (`layer_groups`).

    Raises
    ------
    ConfigError
        When the loss rises too early for a suggestion.
    DivergedError
        When the loss is not finite before the first step.
    """
    before = {key: value.detach().clone() for key, value in module.state_dict().items()}
    try:
        losses = _losses(module, examples, recipe, groups, span, progress or Silent())
    finally:
        module.load_state_dict(before)
    if not losses:
        raise DivergedError("the loss is not finite before the first step: check the weights.")
    test = read_curve(span.rates[: len(losses)], losses)
    if test.tenth >= span.highest / 10:
        log.warning("the loss did not rise up to %g: try a larger --highest", span.highest)
    return test


def _losses(
    module: nn.Module,
    examples: Examples,
    recipe: Recipe,
    groups: Sequence[dict[str, Any]],
    span: Span,
    progress: Progress,
) -> list[float]:
    """Return the loss before each step, up to the last finite one."""
    optimizer = make_optimizer(recipe.optimizer, groups, span.lowest, recipe.weight_decay, recipe.momentum)
    device = next(module.parameters()).device
    batches = chain.from_iterable(mixed_batches(examples.in_epoch(epoch), recipe, epoch, device) for epoch in count())

    def objective(batch: Batch) -> tuple[torch.Tensor, None]:
        return batch.loss(module(batch.rows), recipe.label_smoothing), None

    losses: list[float] = []
    module.train()
    steps = gradient_steps(
        optimizer,
        zip(span.rates.tolist(), batches, strict=False),
        objective,
        where="the range test",
        remedy="the learning rate is too high.",
        clip_norm=recipe.clip_norm,
    )
    with progress.bar("learning rates", span.steps, "steps") as bar, suppress(DivergedError):
        for _, _, loss in steps:
            losses.append(loss)
            smoothed = smooth(losses)
            bar.advance(1)
            bar.note(f"lr {span.rates[len(losses) - 1]:.1e}: loss {smoothed[-1]:.4f}")
            if smoothed[-1] > EXPLODED * smoothed.min():
                break
    return losses


def smooth(losses: Sequence[float]) -> NDArray[np.float64]:
    """Return the bias-corrected exponential moving average (N,) of losses.

    As in fastai, with a shorter memory (0.9 instead of 0.98), which suits tests of 100 steps.
    """
    average, averages = 0.0, []
    for number, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**number))
    return np.array(averages)


def read_curve(rates: NDArray[np.float64], losses: Sequence[float]) -> RangeTest:
    """Return the range test of a curve, with both suggestions; a loss that rises too early raises a ConfigError."""
    smoothed = smooth(losses)
    low = smoothed <= smoothed.min(initial=math.inf) * (1 + TOLERANCE)
    tenth = float(rates[low].max(initial=0)) / 10
    if tenth < rates[0]:
        raise ConfigError("the loss already rises at the lowest learning rate: try a smaller --lowest.")
    bottom = int(smoothed.argmin())
    first = np.mean(losses[: max(1, len(losses) // 10)])
    steepest = None
    if bottom and smoothed[bottom] < first * (1 - TOLERANCE):
        slopes = np.gradient(smoothed[: bottom + 1], np.log(rates[: bottom + 1]))
        steepest = float(rates[slopes.argmin()])
    return RangeTest(rates, np.array(losses), smoothed, steepest, tenth)


def draw_curve(test: RangeTest, title: str, path: Path) -> None:
    """Plot losses against learning rates as a PNG, with the suggestion marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, ".", color="#9a9a9a", markersize=4, label="each batch")
    axes.plot(test.rates, test.smoothed, "-", color="#0b6fa4", label="smoothed")
    axes.axvline(test.suggestion, color="#c2410c", linewidth=1.5, label=f"suggestion: {test.suggestion:.1e}")
    if test.steepest is not None:
        axes.axvline(
            test.steepest, color="#c2410c", linewidth=1, linestyle=":", label=f"steepest descent: {test.steepest:.1e}"
        )
    # Single losses may lie far above the average.
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
    axes.set_ylim(0, 1.1 * test.smoothed.max())
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT)
