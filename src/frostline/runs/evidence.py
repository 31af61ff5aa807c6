"""Evidence: the predictions of a run and thumbnails of test images, to report and compare it without the data set.

runs/NAME/evidence.safetensors
  val.probabilities, test.probabilities  float32 (N, classes), calibrated, in the order of the split
  val.labels, test.labels                int64 (N,), the truth
  shown.*                                thumbnails of test images (`frostline.data.thumbnails`)
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import save

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, parse_tensors
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.thumbnails import Thumbnails, make_thumbnails
from frostline.evaluation.metrics import Predictions, worst_mistakes, worth_showing

SPLITS = ("val", "test")
ROUNDING = 1e-3  # of a sum of probabilities in float32


@dataclass(frozen=True, eq=False)
class Evidence:
    """Predictions of both splits, and thumbnails of the test images that a report shows."""

    val: Predictions
    test: Predictions
    shown: Thumbnails

    def mistakes(self, split: str, names: Sequence[str]) -> list[dict[str, Any]]:
        """Return the wrong predictions on ``val`` or ``test``, the most confident first; see `Run.mistakes`."""
        probabilities, labels = (self.test if split == "test" else self.val).pair
        positions = self.shown.positions.tolist() if split == "test" else []
        files = {position: name for position, name in zip(positions, self.shown.names, strict=False) if name}
        wrong = worst_mistakes(probabilities, labels, len(labels))
        return [
            {
                "position": position,
                "truth": names[labels[position]],
                "predicted": names[probabilities[position].argmax()],
                "probability": float(probabilities[position].max()),
                "truth_probability": float(probabilities[position, labels[position]]),
                "file": files.get(position),
            }
            for position in wrong.tolist()
        ]


class EvidenceFile(Protocol):
    """A run, as far as it concerns this file; `frostline.runs.folder.Run` reads its own evidence."""

    @property
    def evidence(self) -> Path:
        """The file."""

    def parse(self, name: str, parser: Callable[[bytes], Evidence], most: int = ...) -> Evidence:
        """Read a file of the run."""


def write_evidence(run: EvidenceFile, predicted: Mapping[str, Predictions], test: ImageDataset, fit: str) -> None:
    """Write the predictions of ``val`` and ``test``, and thumbnails of the test images that `worth_showing` selects.

    ``fit`` is how the network's images become square.
    """
    tensors = {}
    for name in SPLITS:
        tensors[f"{name}.probabilities"] = torch.from_numpy(predicted[name].probabilities)
        tensors[f"{name}.labels"] = torch.from_numpy(predicted[name].labels)
    positions = worth_showing(*predicted["test"].pair) if len(test) else np.empty(0, np.int64)
    tensors |= make_thumbnails(test, positions, fit).to_tensors("shown")
    write_bytes(run.evidence, save({name: tensor.contiguous() for name, tensor in tensors.items()}), OTHER_OUTPUT_DIR)


def read_evidence(run: EvidenceFile) -> Evidence:
    """Read the evidence of a run.

    Raises RunError when it is missing, damaged, or not as the run wrote it.
    """
    return run.parse(run.evidence.name, _evidence, MAX_TENSOR_FILE_BYTES)


def _evidence(data: bytes) -> Evidence:
    tensors = parse_tensors(data)
    val, test = (_predictions(name, tensors) for name in SPLITS)
    if val.probabilities.shape[1] != test.probabilities.shape[1]:
        raise ValueError("val and test have different classes")
    shown = Thumbnails.from_tensors("shown", tensors)
    if len(shown) and not 0 <= shown.positions.min() <= shown.positions.max() < len(test.labels):
        raise ValueError("it shows images that are not in the test split")
    return Evidence(val, test, shown)


def _predictions(name: str, tensors: Mapping[str, torch.Tensor]) -> Predictions:
    """Return the predictions of a split; ``ValueError`` when they are invalid."""
    probabilities, labels = tensors[f"{name}.probabilities"], tensors[f"{name}.labels"]
    if probabilities.dtype != torch.float32 or probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ValueError(f"{name}.probabilities is not a table of numbers")
    if labels.dtype != torch.int64 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"{name}.labels is not one integer per image")
    if len(labels):
        low, high = probabilities.aminmax()
        if not (low >= 0 and high <= 1 + ROUNDING and (probabilities.sum(1) - 1).abs().max() < ROUNDING):
            raise ValueError(f"{name}.probabilities are no probabilities")
        if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
            raise ValueError(f"{name}.labels has unknown classes")
    return Predictions(probabilities.numpy(), labels.numpy())
