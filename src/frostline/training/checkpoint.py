"""The state of training on disk: tensors as safetensors, the rest as JSON beside them; no pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import nn

from frostline.errors import RunError, first_line
from frostline.hashing import digest_arrays
from frostline.storage import write_bytes
from frostline.training.average import Average


@dataclass
class Epoch:
    """One line of the history; ``freeze`` is the last stage that was frozen then."""

    epoch: int
    freeze: str
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float


EPOCH_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")


@dataclass
class TrainingState:
    """Everything that the next epoch depends on.

    Attributes
    ----------
    module, optimiser
        Being trained.
    average : Average, optional
        The moving average of the weights, when there is one.
    history : list of Epoch
        Of this phase and those before it.
    before : int
        How many epochs belong to phases before this one.
    best_epoch, best
        The best epoch so far, whatever its phase, and what the module was then.
    """

    module: nn.Module
    optimiser: torch.optim.Optimizer
    average: Average | None = None
    history: list[Epoch] = field(default_factory=list)
    before: int = 0
    best_epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """How many epochs of this phase are behind."""
        return len(self.history) - self.before

    @property
    def measured(self) -> nn.Module:
        """What validation judges and the run keeps: the average of the weights when there is one."""
        return self.average.module if self.average else self.module


def save_state(state: TrainingState, path: Path, phase: int) -> None:
    """Write the state whole, or leave the old file.

    Raises
    ------
    StorageError
    """
    about = {
        "phase": phase,
        "history": [asdict(epoch) for epoch in state.history],
        "before": state.before,
        "best_epoch": state.best_epoch,
        "averaged": state.average.updates if state.average else 0,
    }
    kept = {f"best.{key}": value for key, value in state.best.items()}
    if state.average:
        kept |= {f"average.{key}": value for key, value in state.average.module.state_dict().items()}
    write_checkpoint(path, state.module, state.optimiser, about, kept, "--output-dir chooses another place")


def saved_phase(path: Path | None) -> int:
    """Return which phase of training a checkpoint belongs to; 0 when there is none, or none that can be read."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return int(json.loads(file.metadata()["about"])["phase"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError):
        return 0  # what is wrong with it is told by `load_state`


def load_state(state: TrainingState, path: Path) -> None:
    """Restore a state in place.

    Raises
    ------
    RunError
        When the file is damaged or belongs to another model.
    """
    remedy = "remove it to train from the start; the kept activations stay"
    about, kept = read_checkpoint(path, state.module, state.optimiser, remedy)
    state.best = {key.removeprefix("best."): value for key, value in kept.items() if key.startswith("best.")}
    state.best_epoch, state.before = about["best_epoch"], about["before"]
    state.history = [Epoch(**line) for line in about["history"]]
    if state.average:
        average = {key.removeprefix("average."): kept[key] for key in kept if key.startswith("average.")}
        try:
            state.average.module.load_state_dict(average)
        except RuntimeError as error:
            raise RunError(f"{path} holds no average of this model's weights: {remedy}.") from error
        state.average.updates = about["averaged"]


def write_checkpoint(
    path: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    about: dict[str, Any],
    kept: Mapping[str, torch.Tensor],
    remedy: str,
) -> None:
    """Write a module, its optimiser, some JSON and some more tensors, whole or not at all.

    Raises
    ------
    StorageError
        With the ``remedy``.
    """
    tensors = {f"module.{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"kept.{key}": value for key, value in kept.items()}
    packed = optimiser.state_dict()
    for number, slots in packed["state"].items():
        for slot, value in slots.items():
            if value is not None:  # SGD keeps no momentum before its first step
                tensors[f"optimiser.{number}.{slot}"] = torch.as_tensor(value)
    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"about": json.dumps(about | {"groups": packed["param_groups"]}), "digest": _digest(flat)}
    write_bytes(path, save(flat, metadata), remedy)


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of tensors by name: safetensors has no checksum of its own."""
    return digest_arrays((name, tensors[name].numpy()) for name in sorted(tensors))


def read_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, remedy: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Restore a module and its optimiser in place; return the JSON and the other tensors.

    Raises
    ------
    RunError
        When the file is damaged or belongs to another model; ends with the ``remedy``.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            if _digest(tensors) != file.metadata()["digest"]:
                raise ValueError("its checksum is wrong")
        parts: dict[str, dict[str, torch.Tensor]] = {"module": {}, "kept": {}, "optimiser": {}}
        for key, value in tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = value
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, slot = name.split(".", 1)
            slots.setdefault(int(number), {})[slot] = value
        groups = about.pop("groups")
        expected = optimiser.state_dict()["param_groups"]
        if [group.keys() for group in groups] != [group.keys() for group in expected]:
            raise ValueError("it was written by another optimiser")
        module.load_state_dict(parts["module"])
        optimiser.load_state_dict({"state": slots, "param_groups": groups})
        for parameter, state in optimiser.state.items():
            # A fused step walks through memory: what it keeps must lie there in the order of the weights.
            for slot, value in state.items():
                if value.shape == parameter.shape:
                    state[slot] = torch.empty_like(parameter, requires_grad=False).copy_(value)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(f"{path} is no whole checkpoint of this model ({first_line(error)}): {remedy}.") from error
    return about, parts["kept"]
