"""Object prototypes: unions and cuts of star-shaped parts, many of them symmetric."""

import math
from dataclasses import dataclass

import torch

from frostline._utils.rng import Stream

PARTS = 4
HARMONICS = 5
ANGLES = 256  # entries of a contour's table
SHAPE_SEED = 7  # the prototypes do not depend on the seed of a data set


@dataclass(frozen=True)
class Shapes:
    """Parameters of n objects of ``PARTS`` parts (P); lengths in halves of the object's frame, angles in radians.

    Attributes
    ----------
    center : Tensor (n, P, 2)
    size : Tensor (n, P)
        Half length; 0 for an absent part.
    aspect, angle, power : Tensor (n, P)
        Width over length; tilt; 2 is an ellipse, large is a box (superellipse).
    waves : Tensor (n, P, 2 * HARMONICS)
        Cosine and sine amplitudes of the contour.
    cut : Tensor of bool (n, P)
        Parts that are subtracted instead of added.
    albedo : Tensor (n, P)
        Brightness of a part relative to the object.
    symmetric : Tensor of bool (n,)
        The right half mirrors the left half.
    """

    center: torch.Tensor
    size: torch.Tensor
    aspect: torch.Tensor
    angle: torch.Tensor
    power: torch.Tensor
    waves: torch.Tensor
    cut: torch.Tensor
    albedo: torch.Tensor
    symmetric: torch.Tensor


def prototypes(classes: torch.Tensor) -> Shapes:
    """Return the prototypes of the classes with these numbers (int64, shape (n,))."""
    draw = Stream(SHAPE_SEED, classes)
    center = draw.uniform(PARTS, 2, low=-0.6, high=0.6)
    size = draw.uniform(PARTS, low=0.2, high=0.62)
    center[:, 0] *= 0.3
    size[:, 0] += 0.18
    present = torch.arange(PARTS, device=classes.device) < 1 + draw.below(PARTS, 1)
    order = torch.arange(1, HARMONICS + 1, device=classes.device).sqrt().repeat_interleave(2)
    roughness = 0.22 * draw.chance(0.7, PARTS, 1)
    cut = draw.chance(0.2, PARTS)
    cut[:, 0] = False
    return Shapes(
        center=center,
        size=size * present,
        aspect=draw.uniform(PARTS, low=0.2, high=1.0),
        angle=draw.uniform(PARTS, high=2 * math.pi),
        power=2 + 6 * draw.chance(0.3, PARTS) * draw.uniform(PARTS),
        waves=draw.normal(PARTS, 2 * HARMONICS) * roughness / order,
        cut=cut,
        albedo=draw.normal(PARTS) * 0.15,
        symmetric=draw.chance(0.4),
    )


def jittered(shapes: Shapes, draw: Stream) -> Shapes:
    """Return each object with its parts moved, resized, turned and bent a little."""
    return Shapes(
        center=shapes.center + 0.03 * draw.normal(PARTS, 2),
        size=shapes.size * (1 + 0.08 * draw.normal(PARTS)),
        aspect=shapes.aspect * (1 + 0.08 * draw.normal(PARTS)),
        angle=shapes.angle + 0.08 * draw.normal(PARTS),
        power=shapes.power,
        waves=shapes.waves + 0.02 * draw.normal(PARTS, 2 * HARMONICS),
        cut=shapes.cut,
        albedo=shapes.albedo + 0.2 * (draw.uniform(PARTS) - 0.5),
        symmetric=shapes.symmetric,
    )


def contours(shapes: Shapes) -> torch.Tensor:
    """Return each part's radius, in units of its size, over ``ANGLES`` steps of the diamond angle: (n, P, ANGLES).

    The diamond angle v / (|u| + |v|), continued over four quadrants, grows with the angle but needs no arc tangent.
    """
    steps = (torch.arange(ANGLES, device=shapes.size.device) + 0.5) * (4 / ANGLES) - 2
    v = torch.where(steps.abs() <= 1, steps, steps.sign() * (2 - steps.abs()))
    u = (1 - v.abs()) * torch.where(steps.abs() <= 1, 1.0, -1.0)
    theta = torch.atan2(v, u)
    k = torch.arange(1, HARMONICS + 1, device=theta.device)[:, None] * theta
    basis = torch.stack([k.cos(), k.sin()], 1).flatten(0, 1)  # (2 * HARMONICS, ANGLES)
    power = shapes.power[..., None]
    box = (theta.cos().abs() ** power + theta.sin().abs() ** power) ** (-1 / power)
    return box * (1 + shapes.waves @ basis).clamp_(min=0.15)


def render(
    shapes: Shapes, x: torch.Tensor, y: torch.Tensor, light: torch.Tensor, sharpness: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw n objects.

    Parameters
    ----------
    shapes : Shapes
    x, y : Tensor (n, pixels)
        Coordinates of each pixel in the object's frame.
    light : Tensor (n, P, 2)
        Each part's shading along its own two axes.
    sharpness : Tensor (n,)
        Pixels per unit of the object's frame: an edge is about one pixel wide.

    Returns
    -------
    cover, shade : Tensor (n, pixels)
        Fraction of a pixel that the object covers, 0 to 1, and brightness to add there.
    """
    n, pixels = x.shape
    x = torch.where(shapes.symmetric[:, None], x.abs(), x)
    cos, sin = shapes.angle.cos(), shapes.angle.sin()
    length = shapes.size.clamp(min=1e-3)
    width = length * shapes.aspect
    cx, cy = shapes.center.unbind(-1)
    rows = torch.stack(
        [
            torch.stack([cos / length, sin / length, -(cx * cos + cy * sin) / length], -1),
            torch.stack([-sin / width, cos / width, (cx * sin - cy * cos) / width], -1),
        ],
        1,
    ).flatten(1, 2)  # (n, 2P, 3)
    frame = torch.stack([x, y, torch.ones_like(x)], 1)  # (n, 3, pixels)
    u, v = torch.bmm(rows, frame).reshape(n, 2, PARTS, pixels).unbind(1)  # (n, P, pixels) each
    diamond = v / (u.abs() + v.abs()).clamp_(min=1e-6)
    behind = torch.copysign(torch.full((), 2.0, device=x.device), diamond) - diamond
    step = torch.where(u < 0, behind, diamond).add_(2).mul_(ANGLES / 4).long().clamp_(max=ANGLES - 1)
    radius = contours(shapes).gather(2, step)
    inside = radius.sub_(torch.hypot(u, v)).mul_((width * sharpness[:, None])[..., None]).add_(0.5).clamp_(0, 1)
    inside.mul_((shapes.size > 0)[..., None])
    tone = u.mul_(light[..., :1]).add_(v.mul_(light[..., 1:])).add_(shapes.albedo[..., None])
    cover, shade = inside[:, 0], tone[:, 0]
    for part in range(1, PARTS):
        here = inside[:, part]
        cut = shapes.cut[:, part, None]
        shade = torch.where((here > 0.5) & ~cut, tone[:, part], shade)
        cover = torch.where(cut, torch.minimum(cover, 1 - here), torch.maximum(cover, here))
    return cover, shade
