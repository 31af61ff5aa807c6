"""Textures: gratings, stripes, checks and 1/f noise, one set of parameters per texture class."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch

from frostline._utils.rng import Stream

TEXTURE_SEED = 11
TILE = 256  # pixels, a power of two
TILES = 8
# Weight of the grating, of the product of two gratings and of the noise, by kind.
KINDS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, 0.0, 0.4))


@dataclass(frozen=True)
class Textures:
    """Parameters of n textures, Tensors of n rows."""

    angle: torch.Tensor  # (n, 1), radians
    frequency: torch.Tensor  # (n, 2), of the two crossing gratings, in radians per half frame
    weights: torch.Tensor  # (n, 3), of grating, product and noise
    contrast: torch.Tensor  # (n, 1), hardens sines into stripes
    tile: torch.Tensor  # (n,), int64, number of the noise tile
    stretch: torch.Tensor  # (n, 1), elongation of the noise


def textures(classes: torch.Tensor) -> Textures:
    """Return the textures of the classes with these numbers (int64, shape (n,))."""
    draw = Stream(TEXTURE_SEED, classes)
    weights = torch.tensor(KINDS, device=classes.device)[draw.below(len(KINDS))]
    angle = draw.uniform(1, high=math.pi)
    frequency = draw.uniform(2, low=3, high=25)
    contrast = torch.where(draw.chance(0.4, 1), 4.0, 1.0)
    tile = draw.below(TILES)
    stretch = torch.exp(draw.uniform(1, low=-1.2, high=1.2))
    return Textures(angle, frequency, weights, contrast, tile, stretch)


@lru_cache(maxsize=2)
def _tiles(device: torch.device) -> torch.Tensor:
    """Return ``TILES`` seamless tiles of 1/f^a noise, a from 0.5 to 2.2, zero mean and unit deviation, flattened."""
    white = torch.randn(TILES, TILE, TILE, generator=torch.Generator().manual_seed(TEXTURE_SEED))
    squared = torch.fft.fftfreq(TILE)[:, None] ** 2 + torch.fft.rfftfreq(TILE) ** 2
    squared[0, 0] = 1
    power = torch.linspace(0.5, 2.2, TILES)[:, None, None]
    noise = torch.fft.irfft2(torch.fft.rfft2(white) * squared ** (-power / 2), s=(TILE, TILE))
    noise = noise - noise.mean((1, 2), keepdim=True)
    flat: torch.Tensor = (noise / noise.std((1, 2), keepdim=True)).flatten()
    return flat.to(device)


def noise_at(tile: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Sample noise tiles (n,), repeated endlessly, at ``x`` and ``y`` (n, pixels), in pixels of the tile."""
    column = x.floor().int().bitwise_and_(TILE - 1)
    row = y.floor().int().bitwise_and_(TILE - 1)
    place = row.mul_(TILE).add_(column).add_((tile * TILE * TILE).int()[:, None])
    return _tiles(x.device).index_select(0, place.flatten()).view_as(x)


def render(texture: Textures, x: torch.Tensor, y: torch.Tensor, phase: torch.Tensor, pitch: float) -> torch.Tensor:
    """Draw n textures, -1 to 1, (n, pixels).

    Parameters
    ----------
    texture : Textures
    x, y : Tensor (n, pixels)
        Coordinates of each pixel in the object's frame.
    phase : Tensor (n, 2)
        0 to 1.
    pitch : float
        Tile pixels per half frame.
    """
    cos, sin = texture.angle.cos(), texture.angle.sin()
    along, across = x * cos + y * sin, y * cos - x * sin
    turn = 2 * math.pi * phase
    first = torch.sin(along * texture.frequency[:, :1] + turn[:, :1])
    second = torch.sin(across * texture.frequency[:, 1:] + turn[:, 1:])
    grain = noise_at(
        texture.tile,
        along.mul_(pitch * texture.stretch).add_(TILE * phase[:, :1]),
        across.mul_(pitch / texture.stretch).add_(TILE * phase[:, 1:]),
    )
    product = second.mul_(first).mul_(1.5 * texture.weights[:, 1:2])
    total = first.mul_(texture.weights[:, :1]).add_(product).add_(grain.mul_(0.7 * texture.weights[:, 2:]))
    return total.mul_(texture.contrast).clamp_(-1, 1)
