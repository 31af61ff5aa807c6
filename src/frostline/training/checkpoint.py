"""Checkpoints of a training: tensors as safetensors with JSON metadata; no pickle."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import from_json
from safetensors.torch import save
from torch import nn
from torch.optim.swa_utils import AveragedModel

from frostline._utils.files import read_tensors, reading
from frostline._utils.hashing import digest_arrays
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.errors import RunError, first_line


@dataclass
class Epoch:
    """One line of the history; ``freeze`` is the last frozen stage."""

    epoch: Annotated[int, Field(ge=1)]
    freeze: str
    train_loss: float
    train_accuracy: Annotated[float, Field(ge=0, le=1)]
    val_loss: float  # NaN without a validation split, like the accuracy
    val_accuracy: float
    lr: Annotated[float, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


FORMAT_VERSION = "2"
REMEDY = "remove it to train from the start; cached features are not affected"
EPOCH_METRICS = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")


@dataclass
class TrainingState:
    """Everything that the next epoch depends on."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None = None  # moving average of the weights
    history: list[Epoch] = field(default_factory=list)  # of this phase and earlier ones
    before: int = 0  # epochs of earlier phases
    best_epoch: int = 0  # of all phases
    best: dict[str, torch.Tensor] = field(default_factory=dict)  # state dict of the best epoch

    @property
    def epochs_done(self) -> int:
        """The number of completed epochs of this phase."""
        return len(self.history) - self.before

    @property
    def measured(self) -> nn.Module:
        """The module to validate and save: the averaged one, if any."""
        return self.average.module if self.average else self.module


class _About(BaseModel):
    """A checkpoint's JSON metadata."""

    model_config = ConfigDict(strict=True)

    phase: Annotated[int, Field(ge=0)]
    history: list[Epoch]
    before: Annotated[int, Field(ge=0)]
    best_epoch: Annotated[int, Field(ge=0)]
    averaged: Annotated[int, Field(ge=0)]
    run: str = ""  # not recorded by earlier versions


def save_state(state: TrainingState, path: Path, phase: int, run: str = "") -> None:
    """Write the state atomically.

    Parameters
    ----------
    phase : int
        Number of the phase, from 0.
    run : str
        Digest of the run's settings and images, compared on loading.

    Raises
    ------
    StorageError
    """
    about = {
        "phase": phase,
        "history": [asdict(epoch) for epoch in state.history],
        "before": state.before,
        "best_epoch": state.best_epoch,
        "averaged": int(state.average.n_averaged) - 1 if state.average else 0,
        "run": run,
    }
    tensors = {f"best.{key}": value for key, value in state.best.items()}
    if state.average:
        tensors |= {f"average.{key}": value for key, value in state.average.module.state_dict().items()}
    write_checkpoint(path, state.module, state.optimizer, about, tensors, OTHER_OUTPUT_DIR)


def saved_phase(path: Path | None) -> int:
    """Return the phase of training that a checkpoint belongs to; 0 without a checkpoint.

    Raises
    ------
    RunError
        If the file is damaged.
    """
    if path is None or not os.path.lexists(path):
        return 0
    return _about(path, _read(path, REMEDY)[0]).phase


def _about(path: Path, value: dict[str, Any]) -> _About:
    with reading(path, RunError, REMEDY):
        about = _About.model_validate_json(json.dumps(value))
        if max(about.before, about.best_epoch) > len(about.history):
            raise ValueError("its numbers of epochs do not agree")
    return about


def load_state(state: TrainingState, path: Path, run: str = "") -> None:
    """Restore a state in place.

    Raises
    ------
    RunError
        If the file is damaged or belongs to another model or run.
    """
    value, tensors = read_checkpoint(path, state.module, state.optimizer, REMEDY)
    about = _about(path, value)
    if about.run and about.run != run:
        raise RunError(f"{path} belongs to another run: {REMEDY}.")
    state.best = _with_prefix("best.", tensors)
    state.best_epoch, state.before, state.history = about.best_epoch, about.before, about.history
    if state.average:
        average = _with_prefix("average.", tensors)
        try:
            state.average.module.load_state_dict(average)
        except RuntimeError as error:
            raise RunError(f"{path} holds no average of this model's weights: {REMEDY}.") from error
        state.average.n_averaged.fill_(about.averaged + 1)


def _with_prefix(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names start with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def write_checkpoint(
    path: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    about: dict[str, Any],
    further: Mapping[str, torch.Tensor],
    remedy: str,
) -> None:
    """Write a module, its optimizer, JSON metadata and further tensors atomically.

    Raises
    ------
    StorageError
        Ends with the ``remedy``.
    """
    tensors = {f"module.{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"kept.{key}": value for key, value in further.items()}
    packed = optimizer.state_dict()
    for number, slots in packed["state"].items():
        for slot, value in slots.items():
            if value is not None:  # SGD has no momentum before its first step
                tensors[f"optimiser.{number}.{slot}"] = torch.as_tensor(value)
    flat = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    text = json.dumps(about | {"groups": packed["param_groups"]})
    write_bytes(path, save(flat, {"about": text, "format": FORMAT_VERSION, "digest": _digest(flat, text)}), remedy)


def _digest(tensors: Mapping[str, torch.Tensor], about: str | None) -> str:
    """Return a digest of tensors by name and of the JSON, because safetensors has no checksum."""
    named = [(name, tensors[name].numpy()) for name in sorted(tensors)]
    metadata = [] if about is None else [("", np.frombuffer(about.encode(), np.uint8))]
    return digest_arrays([*metadata, *named])


def _read(path: Path, remedy: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the JSON and the tensors of a checkpoint after checking its digest."""
    with reading(path, RunError, remedy):
        tensors, metadata = read_tensors(path)
        about = metadata["about"]
        # Earlier versions recorded no format, and did not include the JSON in the digest.
        if _digest(tensors, about if "format" in metadata else None) != metadata["digest"]:
            raise ValueError("its checksum is wrong")
        if metadata.get("format", FORMAT_VERSION) != FORMAT_VERSION:
            raise ValueError(f"it has format {metadata['format']}, this version reads {FORMAT_VERSION}")
        return dict(from_json(about)), tensors


def read_checkpoint(
    path: Path, module: nn.Module, optimizer: torch.optim.Optimizer, remedy: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Restore a module and its optimizer in place; return the JSON and the further tensors.

    Raises
    ------
    RunError
        If the file is damaged or belongs to another model; ends with the ``remedy``.
    """
    about, tensors = _read(path, remedy)
    groups = about.pop("groups", None)
    try:
        parts: dict[str, dict[str, torch.Tensor]] = {"module": {}, "kept": {}, "optimiser": {}}
        for key, value in tensors.items():
            part, name = key.split(".", 1)
            parts[part][name] = value
        slots: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts["optimiser"].items():
            number, slot = name.split(".", 1)
            slots.setdefault(int(number), {})[slot] = value
        expected = optimizer.state_dict()["param_groups"]
        if [group.keys() for group in groups] != [group.keys() for group in expected]:
            raise ValueError("it was written by another optimizer")
        module.load_state_dict(parts["module"])
        optimizer.load_state_dict({"state": slots, "param_groups": groups})
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise RunError(f"{path} is not a checkpoint of this model ({first_line(error)}): {remedy}.") from error
    for parameter, state in optimizer.state.items():
        # A fused step iterates over memory: its state must have the memory layout of the weights.
        for slot, value in state.items():
            if value.shape == parameter.shape:
                state[slot] = torch.empty_like(parameter, requires_grad=False).copy_(value)
    return about, parts["kept"]
