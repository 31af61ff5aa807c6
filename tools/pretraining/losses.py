"""What the network is asked: which texture, what it looks like, what lies behind the looks, and which object it is."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from frostline.synthetic.scene import Drawing, Labels, Program, draw_plans

SIDE = 16  # of a sketch, in pixels
# What is sketched: the image in gray, the object's outline, the light and tones on it, and its plan: the outline that
# it has upright, in the middle and unbent. With each the mean and spread that make its numbers about standard.
SKETCHES = {"image": (0.4, 0.3), "cover": (0.4, 0.45), "shade": (0.0, 0.12), "plan": (0.4, 0.45)}


@dataclass(frozen=True)
class Answers:
    """What the network says of n images.

    Attributes
    ----------
    objects : Tensor (n, classes) or None
        Logits; ``None`` when it is not asked.
    textures : Tensor (n, classes)
        Logits.
    sketches : list of Tensor (n, len(SKETCHES) * SIDE * SIDE)
        One for each stage that sketches, the deepest last.
    """

    objects: torch.Tensor | None
    textures: torch.Tensor
    sketches: list[torch.Tensor]


@dataclass(frozen=True)
class Weights:
    """How much each question counts.

    Attributes
    ----------
    objects, textures : float
        Of the cross-entropies.
    sketches : float
        Of the mean squared error of each kind of sketch at the deepest stage.
    earlier : float
        Of an earlier stage's sketch beside the deepest's.
    """

    objects: float = 1.0
    textures: float = 0.5
    sketches: float = 1.0
    earlier: float = 0.3


def true_sketches(program: Program, drawing: Drawing, labels: Labels) -> torch.Tensor:
    """Return what should be sketched, about standardized: (n, len(SKETCHES) * SIDE * SIDE)."""
    seen = {
        "image": drawing.images.mean(1, keepdim=True),
        "cover": drawing.cover,
        "shade": drawing.cover * drawing.shade,
        "plan": draw_plans(program, labels.objects, 2 * SIDE),
    }
    parts = [
        (functional.adaptive_avg_pool2d(seen[name], SIDE).flatten(1) - mean) / spread
        for name, (mean, spread) in SKETCHES.items()
    ]
    return torch.cat(parts, 1)


def supervised(answers: Answers, labels: Labels, sketches: torch.Tensor, weights: Weights) -> torch.Tensor:
    """Return the weighted sum of the losses.

    Parameters
    ----------
    answers : Answers
    labels : Labels
        What was drawn.
    sketches : Tensor (n, len(SKETCHES) * SIDE * SIDE)
        Of `true_sketches`.
    weights : Weights
    """
    loss = weights.textures * functional.cross_entropy(answers.textures.float(), labels.textures)
    if answers.objects is not None:
        loss = loss + weights.objects * functional.cross_entropy(answers.objects.float(), labels.objects)
    for depth, sketch in enumerate(reversed(answers.sketches)):
        weight = weights.sketches * (1.0 if depth == 0 else weights.earlier)
        loss = loss + weight * len(SKETCHES) * functional.mse_loss(sketch.float(), sketches)
    return loss
