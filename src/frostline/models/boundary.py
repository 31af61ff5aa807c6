"""The freeze boundary: frozen stages below it, thawed stages and the head above it."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from frostline.models.backbone import Backbone

NONE = "none"
# Side of the grid that a tapped stage is averaged down to: more costs memory for little (bench/taps.py).
TAP_GRID = 3


@dataclass(frozen=True)
class Boundary:
    """Where a backbone is cut, and which stages the head reads.

    Parameters
    ----------
    freeze : str
        The last frozen stage, or ``"none"``: every stage is trained, on pixels.
    taps : tuple of str
        Stages whose outputs are averaged to a small grid and concatenated for the head, in the order they run; the last
        stage that runs is not averaged. Empty: the last stage's output alone, unchanged.
    end : str
        The last stage that runs: the deepest tap or the boundary; without taps the boundary or the feature stage,
        whichever is deeper.
    """

    freeze: str
    taps: tuple[str, ...]
    end: str

    @property
    def closed(self) -> "Boundary":
        """The boundary with every stage frozen; a head trained on it also fits this boundary."""
        return Boundary(self.end, self.taps, self.end)


def make_boundary(backbone: Backbone, freeze: str, taps: tuple[str, ...]) -> Boundary:
    """Check the stage names and find the last stage that runs.

    Raises
    ------
    UnknownNameError
    """
    depth = -1 if freeze == NONE else backbone.position(freeze)
    ordered = tuple(sorted(set(taps), key=backbone.position))
    deepest = backbone.position(ordered[-1] if ordered else backbone.feature_stage)
    return Boundary(freeze, ordered, backbone.stage_names[max(depth, deepest)])


def row_stages(backbone: Backbone, boundary: Boundary) -> tuple[str, ...]:
    """Return the frozen stages whose outputs form a row, the boundary itself last.

    Empty when the row is the boundary's output, unchanged.
    """
    if boundary.freeze == NONE:
        return ()
    depth = backbone.position(boundary.freeze)
    below = tuple(tap for tap in boundary.taps if backbone.position(tap) < depth)
    if boundary.freeze == boundary.end:
        return boundary.taps
    return (*below, boundary.freeze) if below else ()


Step = Callable[[torch.Tensor], torch.Tensor]
Stages = Mapping[str, Step] | Mapping[str, list[Step]] | nn.ModuleDict  # a stage, or the list of its steps


class Frozen(nn.Module):
    """The stages up to the boundary, always in eval mode and without gradients.

    Returns the boundary's output (B, C, H, W), or one row of concatenated outputs (B, F): the taps below the boundary,
    averaged to a grid, then the boundary's full output.
    """

    def __init__(self, backbone: Backbone, boundary: Boundary) -> None:
        super().__init__()
        names = [] if boundary.freeze == NONE else backbone.stage_names[: backbone.position(boundary.freeze) + 1]
        self.stages = nn.ModuleDict({name: backbone.stages[name] for name in names})
        self.boundary = boundary
        self.row_stages = row_stages(backbone, boundary)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode: batch norm statistics and dropout are frozen."""
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the features for x (B, 3, S, S), normalized."""
        return run_stages(x, self.stages, self.boundary, self.row_stages)

    @torch.inference_mode()
    def widths(self, image_size: int) -> dict[str, int]:
        """Return the number of features from each of `row_stages`, in order; empty when the row is a map."""
        pixels = torch.zeros(1, 3, image_size, image_size, device=next(self.parameters()).device)
        _, parts = self.output_and_parts(pixels, self.row_stages)
        return {name: part.shape[1] for name, part in parts.items()}

    def output_and_parts(
        self, x: torch.Tensor, stages: Collection[str]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the boundary's output, and what each of some stages would contribute to a row (B, F), in order.

        Parameters
        ----------
        x : Tensor (B, 3, S, S)
            Normalized images.
        stages : collection of str
            Names of frozen stages.
        """
        x, parts = _tapped_parts(x, self.stages, self.boundary, stages)
        return x, dict(zip([name for name in self.stages if name in stages], parts, strict=True))


class Thawed(nn.Module):
    """The stages above the boundary, which map rows of `Frozen` to the head's input; without stages, the identity.

    Parameters
    ----------
    backbone : Backbone
        Its stages are shared, not copied.
    boundary : Boundary
    image_size : int
        Side of the images in pixels, which determines the shape of the boundary's map.

    Attributes
    ----------
    precision : torch.dtype, optional
        16-bit type used in training mode; weights and outputs stay float32.
    """

    def __init__(self, backbone: Backbone, boundary: Boundary, image_size: int) -> None:
        super().__init__()
        first = 0 if boundary.freeze == NONE else backbone.position(boundary.freeze) + 1
        names = backbone.stage_names[first : backbone.position(boundary.end) + 1]
        self.stages = nn.ModuleDict({name: backbone.stages[name] for name in names})
        self.boundary = boundary
        self.map_shape: tuple[int, ...] | None = None  # of the boundary's output at the end of a row
        if names and row_stages(backbone, boundary):
            with torch.inference_mode():
                pixels = torch.zeros(1, 3, image_size, image_size, device=next(backbone.parameters()).device)
                self.map_shape = tuple(backbone.between(None, boundary.freeze)(pixels).shape[1:])
        self.precision: torch.dtype | None = None
        self.requires_grad_(True)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return features (B, F), or without taps the last stage's output."""
        if not self.stages:
            return rows
        if self.training and len(rows) == 1:
            return self._single(rows)
        half = self.precision if self.training else None
        with torch.autocast(rows.device.type, half or torch.bfloat16, enabled=half is not None):
            return self._features(rows).float()

    def _single(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the features of a batch of one, which has no variance: batch norm uses its running statistics."""
        norms = [layer for layer in self.modules() if isinstance(layer, _BatchNorm)]
        for layer in norms:
            layer.eval()
        features = self._features(rows)
        for layer in norms:
            layer.train()
        return features

    def _features(self, rows: torch.Tensor) -> torch.Tensor:
        x, taps = rows, self.boundary.taps
        parts: list[torch.Tensor] = []  # torch.compile cannot trace list[torch.Tensor]()
        if self.map_shape is not None:
            size = math.prod(self.map_shape)
            parts.append(rows[:, :-size])
            x = rows[:, -size:].reshape(-1, *self.map_shape)  # (B, C, H, W)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.boundary.freeze in taps:
            parts.append(tapped(x, whole=False))
        return run_stages(x, self.stages, self.boundary, taps, parts)


def run_stages(
    x: torch.Tensor, stages: Stages, boundary: Boundary, taps: Collection[str], before: Collection[torch.Tensor] = ()
) -> torch.Tensor:
    """Run stages one after the other and return the tapped outputs as rows (B, F).

    Parameters
    ----------
    x : Tensor (B, ...)
        Input of the first stage.
    stages : mapping of str to callable
        In the order they run.
    boundary : Boundary
        The outputs of its frozen stage, if further stages run on it, and of its last stage are not averaged.
    taps : collection of str
        Stages to read. Without any, and with ``before`` empty, the last stage's output is returned unchanged.
    before : collection of Tensor (B, ...)
        Leading parts of the row.
    """
    x, parts = _tapped_parts(x, stages, boundary, taps)
    parts = [*before, *parts]
    return torch.cat(parts, dim=1) if parts else x


def _tapped_parts(
    x: torch.Tensor, stages: Stages, boundary: Boundary, taps: Collection[str]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the last stage's output and the part of a row (B, F) from each tap."""
    parts = []
    for name, stage in stages.items():
        for step in stage if isinstance(stage, list) else (stage,):
            x = step(x)  # keep no other reference to a step's input: the next step reuses its memory
        if name in taps:
            below = name == boundary.freeze != boundary.end  # further stages need all of it
            parts.append(x.flatten(1) if below else tapped(x, whole=name == boundary.end))
    return x, parts


def tapped(x: torch.Tensor, *, whole: bool) -> torch.Tensor:
    """Return a stage's output as a row (B, F): the full map, or averaged to at most TAP_GRID x TAP_GRID.

    Tokens (B, N, C) are averaged over all N, class token included: only the network's last stage selects the token that
    represents the image.
    """
    if x.ndim == 3:
        return x.mean(1)
    if x.ndim == 4 and x.shape[1] == x.shape[2] != x.shape[3]:  # (B, H, W, C): images are square
        x = x.permute(0, 3, 1, 2)
    if x.ndim == 4 and not whole and max(x.shape[-2:]) > TAP_GRID:
        x = F.adaptive_avg_pool2d(x, TAP_GRID)
    return x.flatten(1)
