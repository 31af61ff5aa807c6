"""The model from raw images to probabilities as one module, as a `torch.export` program, and its metadata."""

import copy
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from frostline.data.preprocess import Preprocess
from frostline.errors import ExportError, first_line
from frostline.features.engine import quiet
from frostline.inference.onnx import FORMAT_VERSION
from frostline.models.boundary import Frozen
from frostline.models.heads import Head
from frostline.runs.bundle import Model, read_description
from frostline.runs.folder import Run

MOST_HALVINGS = 16
PRECISION = 2.0**24  # Pillow multiplies by the reciprocal of a block's pixel count, truncated to 24 bits
OUT_OF_RANGE = 1_000_000


class TensorPreprocess(nn.Module):
    """Raw images, uint8 (N, H, W, C) with C = 1 or 3, to the network's input (N, 3, S, S).

    The results agree with `Preprocess` within 1e-3 of a gray level.
    """

    powers: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, preprocess: Preprocess) -> None:
        super().__init__()
        self.side, self.interpolation = preprocess.image_size, preprocess.interpolation
        self.window = 2 * self.side - 2
        self.register_buffer("powers", 2 ** torch.arange(MOST_HALVINGS))
        self.register_buffer("mean", torch.tensor(preprocess.mean)[:, None, None])  # (3, 1, 1)
        self.register_buffer("std", torch.tensor(preprocess.std)[:, None, None])  # (3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's input; see the class."""
        _, height, width, channels = (torch.scalar_tensor(size, dtype=torch.int64) for size in images.shape)
        short = torch.minimum(height, width)
        factor = self._factor(short)
        short = _divided_up(short, factor)
        rows, columns = (self._edges(length, short, factor) for length in (height, width))
        weights = self._weights(short)  # (S, window)
        squares = _means(images, rows, columns).permute(0, 3, 1, 2)  # (N, C, window, window)
        pixels = weights @ squares @ weights.T  # (N, C, S, S)
        if self.interpolation == "bicubic":
            pixels = pixels.clamp(0, 255)
        pixels = pixels.index_select(1, _three(channels))  # (N, 3, S, S)
        return (pixels / 255 - self.mean) / self.std

    def _factor(self, short: torch.Tensor) -> torch.Tensor:
        """Return the factor of the halvings; see `frostline.data.decoding.decode.halved_by`."""
        fits = _divided_up(short, self.powers) >= self.side
        return torch.where(fits, self.powers, 1).max()

    def _edges(self, length: torch.Tensor, short: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        """Return the edges of the window's pixels in the image (window + 1,)."""
        first = (_divided_up(length, factor) - short) // 2
        return torch.minimum((first + torch.arange(self.window + 1)) * factor, length)

    def _weights(self, short: torch.Tensor) -> torch.Tensor:
        """Return the resampling matrix (S, window)."""
        scale = short.double() / self.side
        positions = torch.arange(self.window).double() + 0.5  # (window,)
        centers = (torch.arange(self.side).double() + 0.5) * scale  # (S,)
        distance = (positions - centers[:, None]).abs() / scale.clamp(min=1)  # (S, window)
        weights = _cubic(distance) if self.interpolation == "bicubic" else (1 - distance).clamp(min=0)
        weights = torch.where(positions < short, weights, 0.0)
        return (weights / weights.sum(1, keepdim=True)).float()


def _divided_up(length: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    return (length + factor - 1) // factor


def _means(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return the means of blocks of pixels, rounded to integers, (N, window, window, C) float32."""
    sums = _between(_between(images.int(), 1, rows), 2, columns)  # (N, window, window, C)
    counts = (rows.diff()[:, None] * columns.diff()).clamp(min=1)[..., None]  # (window, window, 1)
    share = torch.floor(PRECISION / counts.double()) / PRECISION
    return torch.floor(sums.double() * share + (counts // 2) * share).float()  # exact: 32 bits of 53


def _between(numbers: torch.Tensor, axis: int, edges: torch.Tensor) -> torch.Tensor:
    """Return the sums between consecutive edges along an axis; int32, exact."""
    start = torch.zeros_like(numbers.narrow(axis, 0, 1))
    running = torch.cat([start, numbers], axis).cumsum(axis, dtype=torch.int32)
    return running.index_select(axis, edges[1:]) - running.index_select(axis, edges[:-1])


def _cubic(distance: torch.Tensor) -> torch.Tensor:
    """Keys 1981 with a = -0.5, as antialiased bicubic interpolation uses."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))


def _three(channels: torch.Tensor) -> torch.Tensor:
    """Return the indices of red, green and blue; out of range unless there are 1 or 3 channels."""
    wrong = ((channels - 1) * (channels - 3)).abs()
    return torch.arange(3) * ((channels - 1) // 2) + wrong * OUT_OF_RANGE


INPUT, OUTPUTS = "images", ("probabilities", "class_ids")
EXAMPLE = (2, 30, 34, 3)  # no 0 or 1, which torch.export specializes
FIGURES = ("images", "accuracy", "accuracy_ci95", "loss", "ece")


class ExportableModel(nn.Module):
    """Raw images, uint8 (N, H, W, C) with C = 1 or 3, to calibrated probabilities (N, classes) and class ids (N,).

    The model is copied; every stage counts as frozen.
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

    Raises ExportError when the network cannot be exported.
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

    Raises RunError when the run is not finished or is damaged.
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
