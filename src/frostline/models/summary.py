"""A network stage by stage: output shape, parameters, multiply-accumulates."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from frostline.errors import ConfigError
from frostline.models.backbone import Backbone
from frostline.models.trial import accepts_size


@dataclass(frozen=True)
class StageFacts:
    """One row of the table; ``output`` is (C, H, W) or (F,), counts are per image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int


def describe(stages: Sequence[tuple[str, nn.Module]], image_size: int) -> list[StageFacts]:
    """Measure each stage on torch's meta device: exact, and nothing is computed.

    Parameters
    ----------
    stages : sequence of (str, nn.Module)
        In the order they run; weights on the meta device.
    image_size : int
        Side of the square input in pixels.
    """
    facts = []
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    for name, stage in stages:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = stage(x)
        parameters = sum(parameter.numel() for parameter in stage.parameters())
        # The counter reports two operations for each multiply-accumulate.
        facts.append(StageFacts(name, tuple(x.shape[1:]), parameters, counter.get_total_flops() // 2))
    return facts


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Refuse a size that some stage cannot take; the network has no values (`Backbone.outline`).

    Raises
    ------
    ConfigError
        Naming the smallest size that works.
    """
    own = backbone.intake.image_size
    if backbone.intake.fixed and image_size != own:
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: it takes {own} pixels alone.")
    if image_size < backbone.min_image_size:
        raise ConfigError(
            f"--image-size {image_size} is too small for {backbone.name}: "
            f"expected {backbone.min_image_size} pixels or more."
        )
    if not backbone.intake.any_size and not accepts_size(list(backbone.stages.values()), image_size):
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: {own} does, for one.")
