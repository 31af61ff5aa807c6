"""The learning-rate range test: how the loss answers to ever larger steps, before a training is begun."""

import io
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frostline._utils.device import seed_everything
from frostline._utils.progress import Progress, Silent, log, visible
from frostline._utils.storage import write_bytes
from frostline.config import TrainConfig
from frostline.data.dataset import Splits
from frostline.errors import ConfigError, DivergedError
from frostline.pipeline.context import make_context
from frostline.pipeline.defaults import stepwise
from frostline.pipeline.extract import Features, extract
from frostline.pipeline.resolve import check, resolve
from frostline.pipeline.train import Trainable, prepare_phase
from frostline.training.examples import Examples
from frostline.training.mixing import Batch
from frostline.training.optim import layer_groups, make_optimizer
from frostline.training.trainer import Recipe, gradient_steps, mixed_batches, train

SMOOTHING = 0.9
EXPLODED = 4.0  # times the lowest smoothed loss: no larger rate is tried
ALIKE = 0.05  # losses that differ by no more than this share are taken for the same
FEWEST_STEPS = 10


@dataclass(frozen=True)
class Span:
    """Which learning rates are tried: from ``lowest`` to ``highest`` in ``steps`` equal factors.

    Raises
    ------
    ConfigError
        When that is no span.
    """

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
    """How the training loss answered, up to the rate at which it exploded.

    Attributes
    ----------
    rates, losses, smoothed : ndarray of float64, shape (N,)
        The rate of each step, the loss of its batch before the step in nats, and the average of the losses so far.
    steepest : float or None
        The rate at which the smoothed loss falls fastest, per factor of the rate; none when it does not fall by more
        than `ALIKE`, as when the head was trained before.
    tenth : float
        A tenth of the last rate before the loss rises: the highest at which the smoothed loss is not above its lowest
        by more than `ALIKE`. Where a curve is flat its lowest point itself lies anywhere.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    steepest: float | None
    tenth: float

    @property
    def suggestion(self) -> float:
        """The rate to begin with: ``tenth``, which a curve that does not fall has as well."""
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
    """Run the learning-rate range test (Smith 2017, arXiv:1506.01186) on what a run trains in its last phase.

    That is the head when no stage is thawed. Before thawed stages are tested the head is trained as a run's first phase
    does, else the curve would show how a new head learns; with ``schedule`` ``together`` it is new there as well. The
    phases in between that ``gradual`` has are left out. The curve comes from the training split alone: validation and
    test labels play no part in it. Nothing is left but kept activations.

    Parameters
    ----------
    config : TrainConfig
        As for `frostline.fit`; its ``lr`` and its schedule of rates play no part.
    lowest, highest : float
        The learning rates to begin and to end with.
    steps : int
        How many rates are tried, one gradient step each.
    cache_dir : path, optional
        Where kept activations go.
    progress : Progress, optional
        Draws bars.
    splits : Splits, optional
        The data set itself; ``config.data`` is then no more than what it is called.

    Returns
    -------
    RangeTest
        The losses, and the suggested rate as ``suggestion``.

    Raises
    ------
    DivergedError
        When the loss is not finite before the first step.
    FrostlineError
        For other errors caused by user input or the environment.
    """
    progress = visible(progress)
    if config.head == "ridge":
        raise ConfigError("--head ridge is solved, not descended to: it has no learning rate; choose linear or mlp.")
    span = Span(lowest, highest, steps)
    config = stepwise(config)
    check(config, splits=splits)
    context = make_context(config.device, cache_dir, progress)
    plan = resolve(config, context, splits)
    config, boundary = plan.config, plan.network.boundary
    seed_everything(config.seed)
    ready = _last_phase(extract(plan, context))
    above = "the head" if boundary.freeze == boundary.end else f"{', '.join(ready.trunk.stages)} and the head"
    log.info(
        "%d learning rates from %g to %g on %s, %s images",
        span.steps, span.lowest, span.highest, above, f"{len(plan.splits.train):,}",
    )  # fmt: skip
    groups = layer_groups(ready.trunk.stages.values(), ready.head, config.layer_decay)
    return range_test(ready.module, ready.features.train, plan.phases[-1].recipe, groups, span, progress)


def _last_phase(features: Features) -> Trainable:
    """Return the last phase before its first step, with a trained head where a run would have one."""
    phases = features.plan.phases
    if len(phases) == 1:
        return prepare_phase(features, phases[0])
    log.info("first the head, on kept activations")
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
    """Return the exponential average (N,) of losses so far, without its bias towards its start at 0.

    As in fastai, but it forgets sooner (0.9 for 0.98): with 100 steps theirs would lag by half of them.
    """
    average, averages = 0.0, []
    for number, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        averages.append(average / (1 - SMOOTHING**number))
    return np.array(averages)


def read_curve(rates: NDArray[np.float64], losses: Sequence[float]) -> RangeTest:
    """Read two suggestions off a curve.

    Parameters
    ----------
    rates, losses : shape (N,), N at least 1
        The rates ascend.

    Raises
    ------
    ConfigError
        When the loss rises too early for a suggestion.
    """
    smoothed = smooth(losses)
    low = smoothed <= smoothed.min(initial=math.inf) * (1 + ALIKE)
    tenth = float(rates[low].max(initial=0)) / 10
    if tenth < rates[0]:
        raise ConfigError("the loss rises already at the smallest of these learning rates: try a smaller --lowest.")
    bottom = int(smoothed.argmin())
    first = np.mean(losses[: max(1, len(losses) // 10)])
    steepest = None
    if bottom and smoothed[bottom] < first * (1 - ALIKE):
        slopes = np.gradient(smoothed[: bottom + 1], np.log(rates[: bottom + 1]))
        steepest = float(rates[slopes.argmin()])
    return RangeTest(rates, np.array(losses), smoothed, steepest, tenth)


def draw_curve(test: RangeTest, title: str, path: Path) -> None:
    """Draw the losses over the rates as a PNG; the suggestion is marked."""
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
    # Single losses may be far above the average that ends the test.
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title=title)
    axes.set_ylim(0, 1.1 * test.smoothed.max())
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), "--output chooses another place")
