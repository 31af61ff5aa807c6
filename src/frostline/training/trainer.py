"""Training by gradient descent: the mini-batch loop, epochs, validation and early stopping."""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline._utils.progress import Bar, Progress, Silent, log
from frostline.errors import DivergedError
from frostline.training.checkpoint import Epoch, TrainingState, load_state, save_state, saved_phase
from frostline.training.examples import EVALUATION_BATCH, Batch, Examples, epoch_order, mix
from frostline.training.optim import averaged_model, learning_rate, make_optimizer

B = TypeVar("B")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Optimization hyperparameters; see `frostline.config.TrainConfig` for each field."""

    epochs: int
    batch_size: int
    lr: float
    seed: int
    patience: int
    optimizer: str = "adamw"
    lr_schedule: str = "onecycle"
    warm_up: float | None = None
    momentum: float = 0.9
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    layer_decay: float = 1.0
    clip_norm: float = 0.0
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    compile: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """The history of a training; the trained module has the best epoch's weights."""

    history: list[Epoch]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """Duration of all epochs, validation included."""
        return sum(epoch.seconds for epoch in self.history)


@dataclass(frozen=True)
class Phase:
    """The phase of a run that is trained."""

    number: int = 0
    freeze: str = ""  # the last frozen stage, for the history
    earlier: TrainingResult = TrainingResult([], 0)  # of earlier phases, with whose weights the module starts
    run: str = ""  # digest of the run's settings and data; checkpoints of other runs are rejected


def gradient_steps(
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[float, B]],
    objective: Callable[[B], tuple[torch.Tensor, T]],
    *,
    where: str,
    remedy: str,
    clip_norm: float = 0.0,
) -> Iterator[tuple[B, T, float]]:
    """Run the mini-batch loop: for each batch forward, loss, backward, clipping and an optimizer step.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Its groups may have a ``scale``, a factor on the learning rate.
    batches : iterable of (float, batch)
        Learning rate and batch; consumed one at a time, after the previous step.
    objective : callable
        Maps a batch to the loss (a scalar) and any further output, such as logits.
    where, remedy : str
        Parts of the error message.
    clip_norm : float
        Largest norm of the gradient; 0 disables clipping.

    Yields
    ------
    batch, output, loss
        After each step; the loss is that before the step.

    Raises
    ------
    DivergedError
        If a loss is not finite.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, (lr, batch) in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("scale", 1.0)
        loss, output = objective(batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if clip_norm:
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        value = loss.item()
        if not math.isfinite(value):
            raise DivergedError(f"the loss is no longer finite in {where}, step {number}: {remedy}")
        yield batch, output, value


def mixed_batches(examples: Examples, recipe: Recipe, epoch: int, device: torch.device) -> Iterator[Batch]:
    """Yield the shuffled, mixed batches of an epoch (from 0); order, mixing and dropout depend on seed and epoch."""
    torch.manual_seed(int(np.random.default_rng([recipe.seed, epoch]).integers(2**62)))  # dropout
    draw = np.random.default_rng([recipe.seed, epoch, 0x313])  # mixing
    order = epoch_order(len(examples), recipe.seed, epoch)
    for rows, labels in examples.batches(recipe.batch_size, order):
        yield mix(rows.to(device), labels.to(device), recipe.mixup, recipe.cutmix, draw)


def train(
    module: nn.Module,
    train_examples: Examples,
    val_examples: Examples | None,
    recipe: Recipe,
    *,
    groups: Sequence[dict[str, Any]] | None = None,
    phase: Phase = Phase(),
    checkpoint: Path | None = None,
    on_epoch: Callable[[list[Epoch]], None] | None = None,
    progress: Progress | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Train a module and restore the weights of its best epoch.

    Parameters
    ----------
    module : nn.Module
        Maps rows (B, ...) to logits (B, classes); every parameter that requires a gradient is trained.
    val_examples : Examples or None
        Selects the best epoch and stops early; without them the last epoch is used.
    groups : sequence of dict, optional
        Parameters with a scale of the learning rate (`layer_groups`); by default one group.
    phase : Phase
        The best epoch may belong to an earlier phase.
    checkpoint : Path, optional
        Written after every epoch; resumed from if it exists.
    on_epoch : callable, optional
        Called with the history after every epoch and after resuming.
    quiet : bool
        Do not log.

    Raises
    ------
    DivergedError
        If the loss is no longer finite.
    """
    state, report = _new_state(module, recipe, groups, phase), on_epoch or (lambda history: None)
    if checkpoint is not None and os.path.lexists(checkpoint) and saved_phase(checkpoint) == phase.number:
        load_state(state, checkpoint, phase.run)
        log.info("continuing after epoch %d", len(state.history))
        report(state.history)
    steps = math.ceil(len(train_examples) / recipe.batch_size)
    forward = torch.compile(module) if recipe.compile else module
    with (progress or Silent()).bar("training", recipe.epochs * steps, "steps") as bar:
        bar.advance(state.epochs_done * steps)
        while state.epochs_done < recipe.epochs and not _out_of_patience(state, recipe.patience):
            _run_epoch(state, forward, train_examples, val_examples, recipe, phase.freeze, bar)
            if not quiet:
                log.info(_line(state, recipe.epochs))
            if checkpoint is not None:
                save_state(state, checkpoint, phase.number, phase.run)
            report(state.history)
    if state.epochs_done < recipe.epochs and not quiet:
        log.info("stopped early: no better validation for %d epochs", recipe.patience)
    module.load_state_dict(state.best)
    return TrainingResult(state.history, state.best_epoch)


def _new_state(
    module: nn.Module, recipe: Recipe, groups: Sequence[dict[str, Any]] | None, phase: Phase
) -> TrainingState:
    if groups is None:
        groups = [{"params": [parameter for parameter in module.parameters() if parameter.requires_grad]}]
    return TrainingState(
        module,
        make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.weight_decay, recipe.momentum),
        averaged_model(module, recipe.ema) if recipe.ema else None,
        list(phase.earlier.history),
        len(phase.earlier.history),
        phase.earlier.best_epoch,
        _copy(module) if phase.earlier.best_epoch else {},
    )


def _run_epoch(
    state: TrainingState,
    forward: Callable[..., Any],
    train_examples: Examples,
    val_examples: Examples | None,
    recipe: Recipe,
    freeze: str,
    bar: Bar,
) -> None:
    """Train for one epoch, validate, and add the epoch to the state."""
    started, number = time.perf_counter(), len(state.history) + 1
    loss, accuracy, lr = _train_epoch(state, forward, train_examples, recipe, bar)
    val_loss, val_accuracy = measure(state.measured, val_examples) if val_examples else (math.nan, math.nan)
    seconds = time.perf_counter() - started
    state.history.append(Epoch(number, freeze, loss, accuracy, val_loss, val_accuracy, lr, seconds))
    if _is_best(state):
        state.best_epoch = number
        state.best = _copy(state.measured)


def _train_epoch(
    state: TrainingState, forward: Callable[..., Any], examples: Examples, recipe: Recipe, bar: Bar
) -> tuple[float, float, float]:
    """Train for one epoch; return mean loss, accuracy and the last learning rate."""
    module, optimizer, epoch, number = state.module, state.optimizer, state.epochs_done, len(state.history)
    steps = math.ceil(len(examples) / recipe.batch_size)
    rates = [
        learning_rate(recipe.lr_schedule, recipe.lr, step, recipe.epochs * steps, recipe.warm_up)
        for step in range(epoch * steps, (epoch + 1) * steps)
    ]
    batches = mixed_batches(examples.in_epoch(epoch), recipe, number, next(module.parameters()).device)

    def objective(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        logits = forward(batch.rows)  # (B, classes)
        return batch.loss(logits, recipe.label_smoothing, examples.class_weights), logits

    module.train()
    loss_sum, correct, count = 0.0, 0, 0
    for batch, logits, loss in gradient_steps(
        optimizer,
        zip(rates, batches, strict=True),
        objective,
        where=f"epoch {number + 1}",
        remedy=f"--lr {recipe.lr:g} is too high for {recipe.optimizer}; try a tenth.",
        clip_norm=recipe.clip_norm,
    ):
        if state.average:
            state.average.update_parameters(module)
        loss_sum += loss * len(logits)
        correct += int((logits.argmax(1) == batch.labels).sum())
        count += len(logits)
        bar.advance(1)
        bar.note(f"epoch {number + 1}: loss {loss_sum / count:.4f}, accuracy {correct / count:.4f}")
    return loss_sum / count, correct / count, rates[-1]


def _copy(module: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


def measure(module: nn.Module, examples: Examples) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy."""
    logits = predict_logits(module, examples)
    labels = torch.from_numpy(examples.labels)
    loss = F.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(1) == labels).float().mean().item()


@torch.inference_mode()
def predict_logits(module: nn.Module, examples: Examples) -> torch.Tensor:
    """Return logits (N, classes) in the examples' order, in eval mode."""
    module.eval()
    device = next(module.parameters()).device
    return torch.cat([module(rows.to(device)).cpu() for rows, _ in examples.batches(EVALUATION_BATCH)])


def _is_best(state: TrainingState) -> bool:
    last = state.history[-1]
    if not state.best or math.isnan(last.val_accuracy):
        return True
    best = state.history[state.best_epoch - 1]
    return (last.val_accuracy, -last.val_loss) > (best.val_accuracy, -best.val_loss)


def _out_of_patience(state: TrainingState, patience: int) -> bool:
    return len(state.history) - max(state.best_epoch, state.before) >= patience


def _line(state: TrainingState, epochs: int) -> str:
    epoch, epochs = state.history[-1], state.before + epochs
    validation = (
        "" if math.isnan(epoch.val_loss) else f"val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  "
    )
    return (
        f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}  train loss {epoch.train_loss:.4f} "
        f"accuracy {epoch.train_accuracy:.4f}  {validation}"
        f"lr {epoch.lr:.2e}  {epoch.seconds:.1f} s{'  best' if state.best_epoch == epoch.epoch else ''}"
    )
