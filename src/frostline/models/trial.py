"""A network's stages on trial: whether they give what the network gives, and which sizes of images they take."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from frostline.errors import ConfigError, StorageError, first_line
from frostline.models.stages import Cut

TOLERANCE = 1e-4  # of the largest number that comes out; the steps are the same, so it is rounding at most


@torch.no_grad()
def stages_agree(network: nn.Module, pieces: Cut, image_size: int, name: str) -> None:
    """Run one image of noise through a network and through its stages.

    Raises
    ------
    ConfigError
        When one of them fails or they do not agree.
    """
    device = next(network.parameters()).device
    x = torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        expected = network(x)
    except Exception as error:  # the network's own code
        raise ConfigError(
            f"{name} does not take images of {image_size} x {image_size} pixels in three colors "
            f"({first_line(error)}): say which image_size it was made for."
        ) from error
    for stage, module in [*pieces.stages, *([("head", pieces.head)] if pieces.head is not None else [])]:
        x = module(x)
        if not isinstance(x, torch.Tensor):
            raise ConfigError(f"{name} cannot be cut after '{stage}': it gives {type(x).__name__}, not one tensor.")
    if not isinstance(expected, torch.Tensor) or x.shape != expected.shape:
        raise ConfigError(f"{name} gives another kind of answer than its stages do: it cannot be cut.")
    if not torch.allclose(x, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max())):
        raise ConfigError(f"{name} gives other numbers than its stages do: it cannot be cut.")


def accepts_size(stages: Sequence[nn.Module], image_size: int) -> bool:
    """Whether stages on torch's meta device can take images of a size; nothing is computed."""
    try:
        return math.prod(output_shape(stages, image_size)) > 0
    except OSError as error:  # torch wants a folder for temporary files
        raise StorageError(
            f"cannot use a folder for temporary files ({error.strerror or first_line(error)}): free some space, or set "
            "TMPDIR to a folder that can be written."
        ) from error
    except Exception:  # a network's own code refuses a size in its own way
        return False


@torch.no_grad()
def output_shape(stages: Sequence[nn.Module], image_size: int) -> tuple[int, ...]:
    """Return the shape that stages on torch's meta device give for one image: (C, H, W), (N, C) or (F,)."""
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    for stage in stages:
        x = stage(x)
    return tuple(x.shape[1:])


def accepted_sizes(stages: Sequence[nn.Module], own: int) -> tuple[int, bool]:
    """Return the smallest size that stages take, and whether their own is the only one."""
    shapes = [copy.deepcopy(stage).to("meta") for stage in stages]
    if not accepts_size(shapes, 2 * own):
        return own, True
    refused, taken = 0, own
    while taken - refused > 1:
        middle = (refused + taken) // 2
        refused, taken = (refused, middle) if accepts_size(shapes, middle) else (middle, taken)
    return taken, False
