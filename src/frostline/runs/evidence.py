"""What a run keeps of its evaluation, so that it can be looked at and compared without the data set.

runs/NAME/evidence.safetensors
  val.probabilities, test.probabilities  float32 (N, classes), calibrated, in the split's order
  val.labels, test.labels                int64 (N,), the truth
  shown.*                                small images of the test split (`frostline.data.thumbnails`)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import save

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, parse_tensors, reading
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.thumbnails import Thumbnails, make_thumbnails
from frostline.errors import RunError
from frostline.evaluation.metrics import Predictions, worth_showing
from frostline.runs.folder import AGAIN, Run

SPLITS = ("val", "test")
ROUNDING = 1e-3  # of a sum of probabilities in float32


@dataclass(frozen=True, eq=False)
class Evidence:
    """Predictions of both splits, and the test images that are worth a look."""

    val: Predictions
    test: Predictions
    shown: Thumbnails


def write_evidence(run: Run, predicted: Mapping[str, Predictions], test: ImageDataset) -> None:
    """Keep predictions, and small copies of the test images that `worth_showing` names.

    Parameters
    ----------
    run : Run
    predicted : mapping
        ``val`` and ``test``.
    test : ImageDataset
        The test split, in the order of its predictions.

    Raises
    ------
    StorageError
    """
    tensors = {}
    for name in SPLITS:
        tensors[f"{name}.probabilities"] = torch.from_numpy(predicted[name].probabilities)
        tensors[f"{name}.labels"] = torch.from_numpy(predicted[name].labels)
    judged = predicted["test"]
    worth = worth_showing(judged.probabilities, judged.labels) if len(test) else np.empty(0, np.int64)
    shown = make_thumbnails(test, worth)
    tensors |= shown.to_tensors("shown")
    write_bytes(run.evidence, save({name: tensor.contiguous() for name, tensor in tensors.items()}), OTHER_OUTPUT_DIR)


def read_evidence(run: Run) -> Evidence:
    """Read what `write_evidence` wrote.

    Raises
    ------
    RunError
        When it is missing, damaged, or not as the run wrote it.
    """
    data = run.read(run.evidence.name, MAX_TENSOR_FILE_BYTES)
    with reading(run.evidence, RunError, AGAIN):
        tensors = parse_tensors(data)
        val, test = (_predicted(name, tensors) for name in SPLITS)
        if val.probabilities.shape[1] != test.probabilities.shape[1]:
            raise ValueError("val and test have other classes")
        shown = Thumbnails.from_tensors("shown", tensors)
        if len(shown) and not 0 <= shown.positions.min() <= shown.positions.max() < len(test.labels):
            raise ValueError("it shows images that the test split has not")
    return Evidence(val, test, shown)


def _predicted(name: str, tensors: Mapping[str, torch.Tensor]) -> Predictions:
    """Return the predictions of a split; ``ValueError`` when they cannot be."""
    probabilities, labels = tensors[f"{name}.probabilities"], tensors[f"{name}.labels"]
    if probabilities.dtype != torch.float32 or probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ValueError(f"{name}.probabilities is no table of numbers")
    if labels.dtype != torch.int64 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"{name}.labels is not one whole number for each image")
    if len(labels):
        low, high = probabilities.aminmax()
        if not (low >= 0 and high <= 1 + ROUNDING and (probabilities.sum(1) - 1).abs().max() < ROUNDING):
            raise ValueError(f"{name}.probabilities are none")
        if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
            raise ValueError(f"{name}.labels has classes that are none")
    return Predictions(probabilities.numpy(), labels.numpy())
