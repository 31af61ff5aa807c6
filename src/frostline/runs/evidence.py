"""What a run keeps of its evaluation, so that it can be looked at and compared without the data set.

runs/NAME/evidence.safetensors
  val.probabilities, test.probabilities  float32 (N, classes), calibrated, in the split's order
  val.labels, test.labels                int64 (N,), the truth
  shown.*                                small pictures of the test split (`frostline.images.thumbnails`)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save

from frostline.errors import RunError, first_line
from frostline.evaluation.mistakes import worth_showing
from frostline.images.dataset import ImageDataset
from frostline.images.thumbnails import Thumbnails, make_thumbnails
from frostline.runs.folder import REMEDY, Run
from frostline.storage import write_bytes

SPLITS = ("val", "test")


@dataclass(frozen=True, eq=False)
class Predicted:
    """Calibrated class probabilities, float32 (N, classes), and the truth, int64 (N,), of one split."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def pair(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Both."""
        return self.probabilities, self.labels


@dataclass(frozen=True, eq=False)
class Evidence:
    """Predictions of both splits, and the test pictures that are worth a look."""

    val: Predicted
    test: Predicted
    shown: Thumbnails


def write_evidence(run: Run, predicted: Mapping[str, Predicted], test: ImageDataset) -> None:
    """Keep predictions, and small copies of the test pictures that `worth_showing` names.

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
    write_bytes(run.evidence, save({name: tensor.contiguous() for name, tensor in tensors.items()}), REMEDY)


def read_evidence(run: Run) -> Evidence:
    """Read what `write_evidence` wrote.

    Raises
    ------
    RunError
        When it is missing or damaged.
    """
    try:
        tensors = load_file(run.evidence)
        val, test = (
            Predicted(tensors[f"{name}.probabilities"].numpy(), tensors[f"{name}.labels"].numpy()) for name in SPLITS
        )
        return Evidence(val, test, Thumbnails.from_tensors("shown", tensors))
    except FileNotFoundError as error:
        raise RunError(f"run '{run.name}' has no {run.evidence.name}: run it again from its config.toml.") from error
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(
            f"{run.evidence} is damaged ({first_line(error)}): run it again from its config.toml."
        ) from error
