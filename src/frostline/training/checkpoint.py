"""The state of training after an epoch, on disk: tensors as safetensors, the rest as JSON beside them; no pickle."""

import json
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
    tensors = {f"module.{key}": value for key, value in state.module.state_dict().items()}
    tensors |= {f"best.{key}": value for key, value in state.best.items()}
    packed = state.optimiser.state_dict()
    for number, slots in packed["state"].items():
        for slot, value in slots.items():
            if value is not None:  # SGD keeps no momentum before its first step
                tensors[f"optimiser.{number}.{slot}"] = torch.as_tensor(value)
    about = {
        "history": [asdict(epoch) for epoch in state.history],
        "best_epoch": state.best_epoch,
        "groups": packed["param_groups"],
    }
    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    metadata = {"training": json.dumps(about), "digest": _digest(flat)}
    write_bytes(path, save(flat, metadata), "--output-dir chooses another place")


def _digest(tensors: dict[str, torch.Tensor]) -> str:
    """Return a digest of tensors by name: safetensors has no checksum of its own."""
    return digest_arrays((name, tensors[name].numpy()) for name in sorted(tensors))


def load_state(state: TrainingState, path: Path) -> None:
    """Restore a state in place.

    Raises
    ------
    RunError
        When the file is damaged or belongs to another model.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()["training"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
            if _digest(tensors) != file.metadata()["digest"]:
                raise ValueError("its checksum is wrong")
        parts: dict[str, dict[str, torch.Tensor]] = {"module": {}, "best": {}, "optimiser": {}}
        for key, value in tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = value
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, slot = name.split(".", 1)
            slots.setdefault(int(number), {})[slot] = value
        expected = state.optimiser.state_dict()["param_groups"]
        if [group.keys() for group in about["groups"]] != [group.keys() for group in expected]:
            raise ValueError("it was written by another optimiser")
        state.module.load_state_dict(parts["module"])
        state.optimiser.load_state_dict({"state": slots, "param_groups": about["groups"]})
        state.best = parts["best"]
        state.best_epoch = about["best_epoch"]
        state.history = [Epoch(**line) for line in about["history"]]
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{path} is no whole checkpoint of this model ({first_line(error)}): "
            "remove it to train from the start; the kept activations stay."
        ) from error
