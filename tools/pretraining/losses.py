"""The losses of pre-training: classify the texture and the object, and sketch the image and its hidden causes."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from frostline.synthetic.scene import Drawing, Labels, Program, draw_plans

SIDE = 16  # of a sketch, in pixels
# Sketched are the image in gray, the object's outline, the light and tones on it, and its plan: the outline when it is
# upright, centered and unbent. Each with the mean and standard deviation that roughly standardize it.
SKETCHES = {"image": (0.4, 0.3), "cover": (0.4, 0.45), "shade": (0.0, 0.12), "plan": (0.4, 0.45)}


@dataclass(frozen=True)
class Outputs:
    """The network's outputs for n images."""

    objects: torch.Tensor | None  # logits (n, classes); None without an object head
    textures: torch.Tensor  # logits (n, classes)
    sketches: list[torch.Tensor]  # (n, len(SKETCHES) * SIDE * SIDE) from each sketching stage, the deepest last


@dataclass(frozen=True)
class Weights:
    """The weights of the losses."""

    objects: float = 1.0  # cross-entropy, like textures
    textures: float = 0.5
    sketches: float = 1.0  # mean squared error of each kind of sketch at the deepest stage
    earlier: float = 0.3  # factor for sketches of earlier stages


def true_sketches(program: Program, drawing: Drawing, labels: Labels) -> torch.Tensor:
    """Return the target sketches, roughly standardized: (n, len(SKETCHES) * SIDE * SIDE)."""
    maps = {
        "image": drawing.images.mean(1, keepdim=True),
        "cover": drawing.cover,
        "shade": drawing.cover * drawing.shade,
        "plan": draw_plans(program, labels.objects, 2 * SIDE),
    }
    parts = [
        (functional.adaptive_avg_pool2d(maps[name], SIDE).flatten(1) - mean) / std
        for name, (mean, std) in SKETCHES.items()
    ]
    return torch.cat(parts, 1)


def supervised(outputs: Outputs, labels: Labels, sketches: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Return the weighted sum of the losses; ``sketches`` come from `true_sketches`."""
    loss = weights.textures * functional.cross_entropy(outputs.textures.float(), labels.textures)
    if outputs.objects is not None:
        loss = loss + weights.objects * functional.cross_entropy(outputs.objects.float(), labels.objects)
    for depth, sketch in enumerate(reversed(outputs.sketches)):
        weight = weights.sketches * (1.0 if depth == 0 else weights.earlier)
        loss = loss + weight * len(SKETCHES) * functional.mse_loss(sketch.float(), sketches)
    return loss
