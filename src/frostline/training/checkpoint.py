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


@dataclass
class Epoch:
    """One line of the history."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float


@dataclass
class TrainingState:
    """Everything that the next epoch depends on."""

    module: nn.Module
    optimiser: torch.optim.Optimizer
    history: list[Epoch] = field(default_factory=list)
    best_epoch: int = 0
    best: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def epochs_done(self) -> int:
        """How many epochs are behind."""
        return len(self.history)


def save_state(state: TrainingState, path: Path) -> None:
    """Write the state whole, or leave the old file.

    Raises
    ------
    StorageError
    """
    about = {"history": [asdict(epoch) for epoch in state.history], "best_epoch": state.best_epoch}
    write_checkpoint(path, state.module, state.optimiser, about, state.best, "--output-dir chooses another place")


def load_state(state: TrainingState, path: Path) -> None:
    """Restore a state in place.

    Raises
    ------
    RunError
        When the file is damaged or belongs to another model.
    """
    about, state.best = read_checkpoint(
        path, state.module, state.optimiser, "remove it to train from the start; the kept activations stay"
    )
    state.best_epoch = about["best_epoch"]
    state.history = [Epoch(**line) for line in about["history"]]


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
