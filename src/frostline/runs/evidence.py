"""Evidence: the predictions of a run and thumbnails of test images, to report and compare it without the data set.

runs/NAME/evidence.safetensors
  val.probabilities, test.probabilities  float32 (N, classes), calibrated, in the order of the split
  val.labels, test.labels                int64 (N,), the truth
  shown.*                                thumbnails of test images (`frostline.data.thumbnails`)
  mapped.*                               thumbnails of further test images, for the map of the embedding
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, parse_tensors
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.target import WHOLE
from frostline.data.thumbnails import Thumbnails, make_thumbnails
from frostline.evaluation.metrics import Predictions, worst_mistakes, worth_showing

SPLITS = ("val", "test")
SIDE = 96  # pixels of the thumbnails in `shown`
MOST_MAPPED = 400
ROUNDING = 1e-3  # of a sum of probabilities in float32


def _none() -> Thumbnails:
    return Thumbnails(np.empty(0, np.int64), [], [])


@dataclass(frozen=True, eq=False)
class Evidence:
    """Predictions of both splits, and thumbnails of test images.

    Attributes
    ----------
    val, test : Predictions
    shown : Thumbnails
        The images that `worth_showing` selects.
    mapped : Thumbnails
        Further images of the map of the embedding, mistakes first; none in runs of earlier versions.
    """

    val: Predictions
    test: Predictions
    shown: Thumbnails
    mapped: Thumbnails = field(default_factory=_none)

    def image(self, position: int) -> tuple[bytes, str] | None:
        """Return the thumbnail and the file name of a test image, or None when there is none."""
        for thumbnails in (self.shown, self.mapped):
            found = np.flatnonzero(thumbnails.positions == position)
            if len(found):
                return thumbnails.encoded[found[0]], thumbnails.names[found[0]]
        return None

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


def write_evidence(
    run: EvidenceFile, predicted: Mapping[str, Predictions], test: ImageDataset, mapped: NDArray[np.integer]
) -> None:
    """Write the predictions of ``val`` and ``test``, and thumbnails of test images, whole.

    ``mapped`` are the positions of the test images on the map of the embedding.
    """
    tensors = {}
    for name in SPLITS:
        tensors[f"{name}.probabilities"] = torch.from_numpy(predicted[name].probabilities)
        tensors[f"{name}.labels"] = torch.from_numpy(predicted[name].labels)
    positions = worth_showing(*predicted["test"].pair) if len(test) else np.empty(0, np.int64)
    tensors |= make_thumbnails(test, positions, WHOLE, SIDE).to_tensors("shown")
    more = _worth_mapping(predicted["test"], np.setdiff1d(mapped, positions))
    tensors |= make_thumbnails(test, more, WHOLE).to_tensors("mapped")
    write_bytes(run.evidence, save({name: tensor.contiguous() for name, tensor in tensors.items()}), OTHER_OUTPUT_DIR)


def _worth_mapping(test: Predictions, positions: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return up to `MOST_MAPPED` of some positions, ascending: mistakes first, then evenly spaced ones."""
    right = test.probabilities[positions].argmax(1) == test.labels[positions]
    spread = np.argsort(np.arange(len(positions)) * 0.6180339887 % 1)  # the golden ratio spaces any number evenly
    order = spread[np.argsort(right[spread], kind="stable")]
    return np.sort(positions[order[:MOST_MAPPED]])


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
    mapped = Thumbnails.from_tensors("mapped", tensors) if "mapped.positions" in tensors else _none()
    for thumbnails in (shown, mapped):
        positions = thumbnails.positions
        if len(positions) and not 0 <= positions.min() <= positions.max() < len(test.labels):
            raise ValueError("it shows images that are not in the test split")
    return Evidence(val, test, shown, mapped)


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
