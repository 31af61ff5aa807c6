"""The one mini-batch loop: gradient descent with backpropagation on rows, wherever they come from."""

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline._utils.progress import Bar, Progress, Silent, log
from frostline.errors import DivergedError
from frostline.training.average import Average
from frostline.training.checkpoint import Epoch, TrainingState, load_state, save_state, saved_phase
from frostline.training.examples import Examples, epoch_order
from frostline.training.mixing import mix
from frostline.training.optim import learning_rate, make_optimizer

EVALUATION_BATCH = 1024
STANDARDISE_ROWS = 4096


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to descend; see `frostline.config.TrainConfig` for each field."""

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
    clip_norm: float = 0.0
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    compile: bool = False


@dataclass(frozen=True)
class Trained:
    """What training leaves: the module holds the best epoch's weights."""

    history: list[Epoch]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """What the epochs took, validation included."""
        return sum(epoch.seconds for epoch in self.history)


@dataclass(frozen=True)
class Phase:
    """Where a training stands in a run of several: what is frozen meanwhile, and what came before.

    Attributes
    ----------
    number : int
        From 0.
    freeze : str
        The last frozen stage, for the history.
    earlier : Trained
        The phases before; the module begins with what they left.
    run : str
        Digest of what the run was begun with: its checkpoints belong to no other.
    """

    number: int = 0
    freeze: str = ""
    earlier: Trained = Trained([], 0)
    run: str = ""


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
) -> Trained:
    """Train a module on rows and keep the weights of its best epoch on validation.

    Parameters
    ----------
    module : nn.Module
        Maps rows (B, ...) to logits (B, classes); every parameter that requires a gradient is trained.
    train_examples : Examples
    val_examples : Examples or None
        The validation split chooses the epoch and stops early; without one the last epoch is kept.
    recipe : Recipe
        Epochs, optimizer, learning rate.
    groups : sequence of dict, optional
        Parameters with their shares of the learning rate (`layer_groups`); all alike when left out.
    phase : Phase
        Of a training in several; the best epoch may be one of an earlier phase.
    checkpoint : Path, optional
        Written after every epoch; continued from when it exists.
    on_epoch : callable, optional
        Told the history after every epoch, the restored one included.
    progress : Progress, optional
        Draws the bar.
    quiet : bool
        Log nothing.

    Raises
    ------
    DivergedError
        When the loss is no longer finite.
    """
    if groups is None:
        groups = [{"params": [parameter for parameter in module.parameters() if parameter.requires_grad]}]
    state = TrainingState(
        module,
        make_optimizer(recipe.optimizer, groups, recipe.lr, recipe.weight_decay, recipe.momentum),
        Average(module, recipe.ema) if recipe.ema else None,
        list(phase.earlier.history),
        len(phase.earlier.history),
        phase.earlier.best_epoch,
        _copy(module) if phase.earlier.best_epoch else {},
    )
    if checkpoint is not None and os.path.lexists(checkpoint) and saved_phase(checkpoint) == phase.number:
        load_state(state, checkpoint, phase.run)
        log.info("continuing after epoch %d", len(state.history))
        _report(state, on_epoch)
    steps_per_epoch = math.ceil(len(train_examples) / recipe.batch_size)
    forward = torch.compile(module) if recipe.compile else module
    with (progress or Silent()).bar("training", recipe.epochs * steps_per_epoch, "steps") as bar:
        bar.advance(state.epochs_done * steps_per_epoch)
        while state.epochs_done < recipe.epochs and not _out_of_patience(state, recipe.patience):
            begun = time.perf_counter()
            number = len(state.history) + 1
            loss, accuracy, lr = _one_epoch(state, forward, train_examples, recipe, steps_per_epoch, bar)
            val_loss, val_accuracy = measure(state.measured, val_examples) if val_examples else (math.nan, math.nan)
            seconds = time.perf_counter() - begun
            state.history.append(Epoch(number, phase.freeze, loss, accuracy, val_loss, val_accuracy, lr, seconds))
            if _is_best(state):
                state.best_epoch = number
                state.best = _copy(state.measured)
            if not quiet:
                log.info(_line(state, recipe.epochs))
            if checkpoint is not None:
                save_state(state, checkpoint, phase.number, phase.run)
            _report(state, on_epoch)
    if state.epochs_done < recipe.epochs and not quiet:
        log.info("stopped early: no better validation for %d epochs", recipe.patience)
    module.load_state_dict(state.best)
    return Trained(state.history, state.best_epoch)


def _one_epoch(
    state: TrainingState, forward: Callable[..., Any], examples: Examples, recipe: Recipe, steps: int, bar: Bar
) -> tuple[float, float, float]:
    """Descend once through the data; return mean loss, accuracy and the last learning rate."""
    module, optimizer, epoch, number = state.module, state.optimizer, state.epochs_done, len(state.history)
    module.train()
    torch.manual_seed(int(np.random.default_rng([recipe.seed, number]).integers(2**62)))  # dropout's numbers
    draw = np.random.default_rng([recipe.seed, number, 0x313])  # which are mixed
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    device = next(module.parameters()).device
    loss_sum, right, seen, lr = 0.0, 0, 0, recipe.lr
    order = epoch_order(len(examples), recipe.seed, number)
    for step, (rows, labels) in enumerate(examples.in_epoch(epoch).batches(recipe.batch_size, order)):
        lr = learning_rate(recipe.lr_schedule, recipe.lr, epoch * steps + step, recipe.epochs * steps, recipe.warm_up)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["scale"]
        batch = mix(rows.to(device), labels.to(device), recipe.mixup, recipe.cutmix, draw)
        logits = forward(batch.rows)  # (B, classes)
        loss = batch.loss(logits, recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimizer.step()
        if state.average:
            state.average.update(module)
        loss_sum += loss.item() * len(labels)
        right += int((logits.argmax(1) == batch.labels).sum())
        bar.advance(1)
        seen += len(labels)
        bar.note(f"epoch {number + 1}: loss {loss_sum / seen:.4f}, accuracy {right / seen:.4f}")
        if not math.isfinite(loss_sum):
            raise DivergedError(
                f"the loss is no longer finite in epoch {number + 1}, step {step + 1}: "
                f"--lr {recipe.lr:g} is too high for {recipe.optimizer}; try a tenth."
            )
    return loss_sum / len(examples), right / len(examples), lr


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


def moments(module: nn.Module, examples: Examples, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and spread (F,) of what a module makes of training rows: over 4,096 of them, drawn by seed."""
    chosen = examples.typical(STANDARDISE_ROWS, seed)
    count = len(chosen)
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        module.eval()
        total = square = torch.zeros(())
        for start in range(0, count, EVALUATION_BATCH // 2):
            rows = examples.rows.take(chosen[start : start + EVALUATION_BATCH // 2])
            values = module(rows.to(device)).flatten(1).double().cpu()  # (B, F)
            total, square = total + values.sum(0), square + values.square().sum(0)
        mean = total / count
        spread = (square / count - mean.square()).clamp_min(0).sqrt()
    return mean.float().clone(), spread.float().clone()


def _is_best(state: TrainingState) -> bool:
    last = state.history[-1]
    if not state.best or math.isnan(last.val_accuracy):
        return True
    best = state.history[state.best_epoch - 1]
    return (last.val_accuracy, -last.val_loss) > (best.val_accuracy, -best.val_loss)


def _out_of_patience(state: TrainingState, patience: int) -> bool:
    return len(state.history) - max(state.best_epoch, state.before) >= patience


def _report(state: TrainingState, on_epoch: Callable[[list[Epoch]], None] | None) -> None:
    if on_epoch is not None:
        on_epoch(state.history)


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
