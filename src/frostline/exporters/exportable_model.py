"""The whole way from raw images to probabilities as one module, and as a program of `torch.export`."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from frostline.errors import ExportError, first_line
from frostline.exporters.preprocess import TensorPreprocess
from frostline.models.boundary import Frozen
from frostline.models.heads import Head
from frostline.runs.bundle import Model

INPUT, OUTPUTS = "images", ("probabilities", "class_ids")
EXAMPLE = (2, 30, 34, 3)  # none of them 0 or 1: those would be taken for constants


class ExportableModel(nn.Module):
    """Raw images, uint8 (N, H, W, C) with C = 1 or 3, to calibrated probabilities (N, classes) and class ids (N,).

    Parameters
    ----------
    model : Model
        Copied. Nothing is trained any more, so every stage counts as frozen: the head reads the same.
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


def exported(model: Model) -> ExportedProgram:
    """Return the whole model as a program with open batch, height, width and channels.

    Raises
    ------
    ExportError
        When the network does something that a program cannot hold.
    """
    open_shape = dict.fromkeys(range(len(EXAMPLE)), Dim.DYNAMIC)
    with quiet():
        try:
            return torch.export.export(
                ExportableModel(model), (torch.zeros(EXAMPLE, dtype=torch.uint8),), dynamic_shapes=(open_shape,)
            )
        except Exception as error:  # whatever a network's own code leads torch to
            raise ExportError(
                f"torch.export cannot make a program of {model.backbone.name} ({first_line(error)}): "
                "`frostline predict` goes on serving this run."
            ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep remarks of torch's exporters, which no user can act on, to themselves."""
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
    """Return the head with its standardization inside the weights of its first layer; see `Head`."""
    first = head.first
    with torch.no_grad():
        weight = first.weight * head.scale  # (O, F)
        first.bias.copy_(first.bias - weight @ head.mean)
        first.weight.copy_(weight)
    return nn.Sequential(nn.Flatten(), first, head.rest)
