"""The model from raw images to probabilities as one module, as a `torch.export` program, and its metadata."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from frostline.errors import ExportError, first_line
from frostline.exporters.preprocess import TensorPreprocess
from frostline.inference.onnx import FORMAT_VERSION
from frostline.models.boundary import Frozen
from frostline.models.heads import Head
from frostline.runs.bundle import Model, read_description
from frostline.runs.folder import Run

INPUT, OUTPUTS = "images", ("probabilities", "class_ids")
EXAMPLE = (2, 30, 34, 3)  # no 0 or 1, which torch.export specializes
FIGURES = ("images", "accuracy", "accuracy_ci95", "loss", "ece")


class ExportableModel(nn.Module):
    """Raw images, uint8 (N, H, W, C) with C = 1 or 3, to calibrated probabilities (N, classes) and class ids (N,).

    Parameters
    ----------
    model : Model
        Copied; every stage counts as frozen.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.pixels = TensorPreprocess(model.preprocess)
        backbone = copy.deepcopy(model.backbone).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.features = Frozen(backbone, model.boundary.closed)
        self.head = _folded(copy.deepcopy(model.head))
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities, float32, and class ids, int64."""
        logits = self.head(self.features(self.pixels(images)))
        return logits.softmax(1), logits.argmax(1)


def export_program(model: Model) -> ExportedProgram:
    """Return the model as a program with dynamic batch size, height, width and channels.

    Raises
    ------
    ExportError
        When the network cannot be exported.
    """
    open_shape = dict.fromkeys(range(len(EXAMPLE)), Dim.DYNAMIC)
    with quiet():
        try:
            return torch.export.export(
                ExportableModel(model), (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=(open_shape,)
            )
        except Exception as error:  # a network's own code can raise anything
            raise ExportError(
                f"torch.export cannot export {model.backbone.name} ({first_line(error)}): "
                "use `frostline predict` and `frostline serve` with the run instead."
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of torch's exporters, which no user can act on."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _folded(head: Head) -> nn.Sequential:
    """Return the head with its standardization folded into the weights of its first layer; see `Head`."""
    first = head.first
    with torch.no_grad():
        weight = first.weight * head.scale  # (O, F)
        first.bias.copy_(first.bias - weight @ head.mean)
        first.weight.copy_(weight)
    return nn.Sequential(nn.Flatten(), first, head.rest)


def export_record(run: Run) -> dict[str, Any]:
    """Return the metadata of an exported file (`frostline.inference.onnx.ExportRecord`) as JSON values.

    Raises
    ------
    RunError
        When the run is not finished or is damaged.
    """
    metrics = run.metrics
    bundle = read_description(run.model_folder).model_dump(mode="json")
    return {
        "format": FORMAT_VERSION,
        "frostline": bundle["frostline"],
        "class_names": bundle["class_names"],
        "image_size": bundle["preprocess"]["image_size"],
        "preprocess": bundle["preprocess"],
        "run": run.name,
        "data": metrics["data"]["name"],
        "network": bundle["network"],
        "freeze": metrics["model"]["freeze"],
        "taps": metrics["model"]["taps"],
        "head": metrics["model"]["head"],
        "weights": metrics["weights"],
        "bundle_blake2b": bundle["blake2b"],
        "rejection": bundle.get("rejection"),
        "seed": metrics["seed"],
        "test": metrics["test"] and {name: metrics["test"][name] for name in FIGURES},
        "quantized": None,
    }
