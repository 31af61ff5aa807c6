"""The cut: frozen stages below the boundary, thawed ones and the head above it."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline.errors import ConfigError
from frostline.networks.backbone import Backbone

NONE = "none"
# Side of the grid that a tapped stage is averaged down to: more costs memory for little (bench/taps.py).
TAP_GRID = 3


@dataclass(frozen=True)
class Boundary:
    """Where a backbone is cut and what the trained part reads.

    Parameters
    ----------
    freeze : str
        The last frozen stage, or ``"none"``: nothing is frozen, the trained part reads pixels.
    taps : tuple of str
        Frozen stages whose outputs, averaged to a small grid, are concatenated for the head. The boundary's own output
        is read whole when it is among them. Empty: the boundary's output alone, as it is.
    end : str
        The last stage that runs at all: ``freeze`` when there are taps, else the deeper of ``freeze`` and the stage a
        head is usually put on.
    """

    freeze: str
    taps: tuple[str, ...]
    end: str


def make_boundary(backbone: Backbone, freeze: str, taps: tuple[str, ...]) -> Boundary:
    """Check names and order, and find where the network ends.

    Raises
    ------
    ConfigError
        When a stage is unknown, or a tap lies above the boundary.
    """
    if freeze == NONE:
        if taps:
            raise ConfigError("--taps reads frozen stages, and --freeze none leaves none frozen: drop one of the two.")
        return Boundary(NONE, (), backbone.feature_stage)
    depth = backbone.position(freeze)
    for tap in taps:
        if backbone.position(tap) > depth:
            allowed = ", ".join(backbone.stage_names[: depth + 1])
            raise ConfigError(
                f"--taps {tap} lies above the boundary {freeze}: only frozen stages can be kept ({allowed})."
            )
    ordered = tuple(sorted(set(taps), key=backbone.position))
    end = freeze if ordered or depth > backbone.position(backbone.feature_stage) else backbone.feature_stage
    return Boundary(freeze, ordered, end)


class Frozen(nn.Module):
    """The stages up to the boundary: runs once per image, always in eval mode and without gradients.

    Gives the boundary's output as it is (B, C, H, W), or, with taps, one row of concatenated features (B, F).
    """

    def __init__(self, backbone: Backbone, boundary: Boundary) -> None:
        super().__init__()
        names = [] if boundary.freeze == NONE else backbone.stage_names[: backbone.position(boundary.freeze) + 1]
        self.stages = nn.ModuleDict({name: backbone.stages[name] for name in names})
        self.boundary = boundary
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in eval mode: frozen batch norm and dropout never move."""
        return super().train(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations for x (B, 3, S, S), normalised."""
        parts = []
        for name, stage in self.stages.items():
            x = stage(x)
            if name in self.boundary.taps:
                parts.append(tapped(x, whole=name == self.boundary.freeze))
        return torch.cat(parts, dim=1) if parts else x


def tapped(x: torch.Tensor, *, whole: bool) -> torch.Tensor:
    """Return a stage's output as a row (B, F): whole, or averaged to at most TAP_GRID x TAP_GRID."""
    if x.ndim == 4 and not whole and max(x.shape[-2:]) > TAP_GRID:
        x = F.adaptive_avg_pool2d(x, TAP_GRID)
    return x.flatten(1)


def thawed(backbone: Backbone, boundary: Boundary) -> nn.Sequential:
    """Return the stages above the boundary that still run, ready to be trained; they share the backbone's weights."""
    after = None if boundary.freeze == NONE else boundary.freeze
    return backbone.between(after, boundary.end).requires_grad_(True)
