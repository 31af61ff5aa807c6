"""The one mini-batch loop: gradient descent with backpropagation on rows, wherever they come from."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline.errors import ConfigError
from frostline.progress import Bar, Progress, Silent, log
from frostline.training.checkpoint import Epoch, TrainingState, load_state, save_state
from frostline.training.examples import Examples, epoch_order
from frostline.training.optimisers import learning_rate, make_optimiser

EVALUATION_BATCH = 1024
STANDARDISE_ROWS = 4096


@dataclass(frozen=True)
class Recipe:
    """How to descend; see `frostline.config.TrainConfig` for each field."""

    epochs: int
    batch_size: int
    optimizer: str
    schedule: str
    lr: float
    momentum: float
    weight_decay: float
    label_smoothing: float
    patience: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """What training leaves: the module holds the best epoch's weights."""

    history: list[Epoch]
    best_epoch: int
    seconds: float


def train(
    module: nn.Module,
    train_examples: Examples,
    val_examples: Examples,
    recipe: Recipe,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[list[Epoch]], None] | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train a module on rows and keep the weights of its best epoch on validation.

    Parameters
    ----------
    module : nn.Module
        Maps rows (B, ...) to logits (B, classes); every parameter that requires a gradient is trained.
    train_examples, val_examples : Examples
        The validation split chooses the epoch and stops early.
    recipe : Recipe
        Epochs, optimiser, learning rate.
    checkpoint : Path, optional
        Written after every epoch; continued from when it exists.
    on_epoch : callable, optional
        Told the history after every epoch, the restored one included.
    progress : Progress, optional
        Draws the bar.

    Raises
    ------
    ConfigError
        When the loss is no longer a number.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    optimiser = make_optimiser(recipe.optimizer, parameters, recipe.lr, recipe.weight_decay, recipe.momentum)
    state = TrainingState(module, optimiser)
    if checkpoint is not None and checkpoint.is_file():
        load_state(state, checkpoint)
        log.info("continuing after epoch %d", state.epochs_done)
        _report(state, on_epoch)
    steps_per_epoch = math.ceil(len(train_examples) / recipe.batch_size)
    with (progress or Silent()).bar("training", recipe.epochs * steps_per_epoch, "steps") as bar:
        bar.advance(state.epochs_done * steps_per_epoch)
        while state.epochs_done < recipe.epochs and not _out_of_patience(state, recipe.patience):
            begun = time.perf_counter()
            number = state.epochs_done + 1
            loss, accuracy, lr = _one_epoch(state, train_examples, recipe, steps_per_epoch, bar)
            val_loss, val_accuracy = measure(module, val_examples)
            seconds = time.perf_counter() - begun
            state.history.append(Epoch(number, loss, accuracy, val_loss, val_accuracy, lr, seconds))
            if _is_best(state):
                state.best_epoch = number
                state.best = {key: value.detach().clone() for key, value in module.state_dict().items()}
            log.info(_line(state.history[-1], recipe.epochs, best=state.best_epoch == number))
            if checkpoint is not None:
                save_state(state, checkpoint)
            _report(state, on_epoch)
    if state.epochs_done < recipe.epochs:
        log.info("stopped early: no better validation for %d epochs", recipe.patience)
    module.load_state_dict(state.best)
    return Trained(state.history, state.best_epoch, sum(epoch.seconds for epoch in state.history))


def _one_epoch(
    state: TrainingState, examples: Examples, recipe: Recipe, steps: int, bar: Bar
) -> tuple[float, float, float]:
    """Descend once through the data; return mean loss, accuracy and the last learning rate."""
    module, optimiser, epoch = state.module, state.optimiser, state.epochs_done
    module.train()
    torch.manual_seed(int(np.random.default_rng([recipe.seed, epoch]).integers(2**62)))  # dropout's numbers
    device = next(module.parameters()).device
    loss_sum, right, seen, lr = 0.0, 0, 0, recipe.lr
    order = epoch_order(len(examples), recipe.seed, epoch)
    for step, (rows, labels) in enumerate(examples.in_epoch(epoch).batches(recipe.batch_size, order)):
        lr = learning_rate(recipe.schedule, recipe.lr, epoch * steps + step, recipe.epochs * steps)
        for group in optimiser.param_groups:
            group["lr"] = lr
        rows, labels = rows.to(device), labels.to(device)  # noqa: PLW2901
        logits = module(rows)  # (B, classes)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss_sum += loss.item() * len(labels)
        right += int((logits.argmax(1) == labels).sum())
        bar.advance(1)
        seen += len(labels)
        bar.note(f"epoch {epoch + 1}: loss {loss_sum / seen:.4f}, accuracy {right / seen:.4f}")
        if not math.isfinite(loss_sum):
            raise ConfigError(
                f"the loss is no longer a number in epoch {epoch + 1}, step {step + 1}: "
                f"--lr {recipe.lr:g} is too high for {recipe.optimizer}; try a tenth."
            )
    return loss_sum / len(examples), right / len(examples), lr


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
    count = min(STANDARDISE_ROWS, len(examples))
    chosen = np.sort(np.random.default_rng([seed, 0x57D]).permutation(len(examples))[:count])
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
    if not state.best:
        return True
    best = state.history[state.best_epoch - 1]
    return (last.val_accuracy, -last.val_loss) > (best.val_accuracy, -best.val_loss)


def _out_of_patience(state: TrainingState, patience: int) -> bool:
    return state.epochs_done - state.best_epoch >= patience


def _report(state: TrainingState, on_epoch: Callable[[list[Epoch]], None] | None) -> None:
    if on_epoch is not None:
        on_epoch(state.history)


def _line(epoch: Epoch, epochs: int, *, best: bool) -> str:
    return (
        f"epoch {epoch.epoch:>{len(str(epochs))}}/{epochs}  train loss {epoch.train_loss:.4f} "
        f"accuracy {epoch.train_accuracy:.4f}  val loss {epoch.val_loss:.4f} accuracy {epoch.val_accuracy:.4f}  "
        f"lr {epoch.lr:.2e}  {epoch.seconds:.1f} s{'  best' if best else ''}"
    )
