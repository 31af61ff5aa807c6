"""The model from raw images to probabilities as one module, as a `torch.export` program, and its metadata."""

import copy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from frostline.data.preprocess import Preprocess
from frostline.errors import ExportError, first_line
from frostline.features.compile import quiet
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
        self.side, self.interpolation, self.fit = preprocess.image_size, preprocess.interpolation, preprocess.fit
        self.window = 2 * self.side - 2
        self.register_buffer("powers", 2 ** torch.arange(MOST_HALVINGS))
        self.register_buffer("mean", torch.tensor(preprocess.mean)[:, None, None])  # (3, 1, 1)
        self.register_buffer("std", torch.tensor(preprocess.std)[:, None, None])  # (3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the network's input; see the class."""
        _, height, width, channels = (torch.scalar_tensor(size, dtype=torch.int64) for size in images.shape)
        down, across = self._axes(height, width)
        windows = _means(images, self._edges(down), self._edges(across)).permute(0, 3, 1, 2)  # (N, C, window, window)
        if self.fit == "pad":
            windows = _padded(windows, self._inside(down), self._inside(across))
        pixels = self._weights(down.square) @ windows @ self._weights(across.square).T  # (N, C, S, S)
        if self.interpolation == "bicubic":
            pixels = pixels.clamp(0, 255)
        pixels = pixels.index_select(1, _three(channels))  # (N, 3, S, S)
        return (pixels / 255 - self.mean) / self.std

    def _axes(self, height: torch.Tensor, width: torch.Tensor) -> tuple["_Axis", "_Axis"]:
        """Return how rows and columns are halved and framed; see `frostline.data.decoding.target.Target`."""
        if self.fit == "squash":
            factors = self._factor(height), self._factor(width)
            reduced = [_divided_up(length, factor) for length, factor in zip((height, width), factors, strict=True)]
            squares = reduced
        else:
            decisive = torch.maximum if self.fit == "pad" else torch.minimum
            factors = (self._factor(decisive(height, width)),) * 2
            reduced = [_divided_up(length, factors[0]) for length in (height, width)]
            squares = [decisive(*reduced)] * 2
        rows, columns = map(_Axis, (height, width), factors, reduced, squares)
        return rows, columns

    def _factor(self, length: torch.Tensor) -> torch.Tensor:
        """Return the largest power of two by which a length is halved."""
        fits = _divided_up(length, self.powers) >= self.side
        return torch.where(fits, self.powers, 1).max()

    def _edges(self, axis: "_Axis") -> torch.Tensor:
        """Return the edges of the window's pixels in the image (window + 1,); pixels outside of it have no width."""
        return ((axis.first + torch.arange(self.window + 1)) * axis.factor).clamp(min=0).minimum(axis.length)

    def _inside(self, axis: "_Axis") -> tuple[torch.Tensor, torch.Tensor]:
        """Return which of the window's pixels (window,) are in the reduced image, and which are at its ends."""
        position = axis.first + torch.arange(self.window)
        return (position >= 0) & (position < axis.reduced), (position == 0) | (position == axis.reduced - 1)

    def _weights(self, length: torch.Tensor) -> torch.Tensor:
        """Return the resampling matrix (S, window) for a length."""
        scale = length.double() / self.side
        positions = torch.arange(self.window).double() + 0.5  # (window,)
        centers = (torch.arange(self.side).double() + 0.5) * scale  # (S,)
        distance = (positions - centers[:, None]).abs() / scale.clamp(min=1)  # (S, window)
        weights = _cubic(distance) if self.interpolation == "bicubic" else (1 - distance).clamp(min=0)
        weights = torch.where(positions < length, weights, 0.0)
        return (weights / weights.sum(1, keepdim=True)).float()


class _Axis(NamedTuple):
    """The rows or the columns of an image: their number, divided by a factor, and the side of the square."""

    length: torch.Tensor
    factor: torch.Tensor
    reduced: torch.Tensor
    square: torch.Tensor

    @property
    def first(self) -> torch.Tensor:
        """The position in the reduced image at which the square begins; negative where it is padded."""
        padding = torch.clamp(self.square - self.reduced, min=0) // 2
        return torch.clamp(self.reduced - self.square, min=0) // 2 - padding


def _padded(
    windows: torch.Tensor, rows: tuple[torch.Tensor, torch.Tensor], columns: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """Fill what lies outside of the image with the rounded mean of its outermost pixels; see `_inside`."""
    (in_rows, end_rows), (in_columns, end_columns) = rows, columns
    inside = in_rows[:, None] & in_columns
    border = (inside & (end_rows[:, None] | end_columns)).double()
    mean = (windows * border).sum((2, 3), keepdim=True) / border.sum()  # exact: whole numbers
    return torch.where(inside, windows, torch.floor(mean + 0.5).float())


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
    bundle = read_description(run.model_folder).model_dump(mode="json", exclude_none=True)
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
