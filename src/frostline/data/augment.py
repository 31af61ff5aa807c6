"""Seeded augmentation: view v of an image is a pure function of (seed, image, v), so its features can be cached.

View 0 is the image itself. Epoch e trains on view e mod V: with V views the frozen stages run V times over the
training images, however many epochs there are, and never again with the same seed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

from frostline._utils.rng import Stream
from frostline.errors import ConfigError, did_you_mean

VERSION = 1  # increment with any change to the random draws below: it selects another feature store
PRIME = 1_000_003  # separates (seed, view) from (seed + 1, view - 1)


@dataclass(frozen=True)
class Augment:
    """Augmentation strengths; the defaults are mild. 0 disables a change.

    Attributes
    ----------
    flip : float
        Probability of a left-right mirror image.
    rotation : float
        Maximum angle in degrees, in either direction.
    shift : float
        Maximum fraction of the side, in each direction.
    scale : float
        Log-uniform between 1 / (1 + scale) and 1 + scale.
    crop : float
        Maximum fraction of the side that is cropped; the rest fills the image.
    brightness : float
        Maximum offset, as a fraction of white.
    contrast : float
        Factor between 1 / (1 + contrast) and 1 + contrast about the image's mean.
    erase : float
        Probability that a rectangle of 2 to 20 % of the area becomes the image's mean; after Zhong et al. 2020,
        arXiv:1708.04896.
    """

    flip: float = 0.5
    rotation: float = 5.0
    shift: float = 0.04
    scale: float = 0.06
    crop: float = 0.0
    brightness: float = 0.05
    contrast: float = 0.1
    erase: float = 0.0

    def apply(self, pixels: torch.Tensor, draw: Stream) -> torch.Tensor:
        """Augment images (B, C, S, S), 0 to 255, with the random numbers of a stream of B images."""
        grid = F.affine_grid(self._affine(draw), list(pixels.shape), align_corners=False)
        pixels = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
        mean = pixels.mean((1, 2, 3), keepdim=True)
        contrast = (1 + self.contrast) ** _signed(draw)[:, None, None, None]
        brightness = 255 * self.brightness * _signed(draw)[:, None, None, None]
        pixels = ((pixels - mean) * contrast + mean + brightness).clamp_(0, 255)
        return torch.where(self._erased(draw, pixels.shape[-1]), mean, pixels)

    def _affine(self, draw: Stream) -> torch.Tensor:
        """Draw maps from a view's pixels to the image's: matrices (B, 2, 3) on coordinates -1 to 1."""
        mirror = 1 - 2 * draw.chance(self.flip).float()
        angle = math.radians(self.rotation) * _signed(draw)
        window = (1 + self.scale) ** _signed(draw)  # side of the visible part, relative to the image
        cut = self.crop * draw.uniform()
        window = window * (1 - cut)
        shift = 2 * self.shift * _signed(draw, 2) + cut[:, None] * _signed(draw, 2)  # (B, 2)
        cosine, sine = angle.cos() * window, angle.sin() * window
        rows = [
            torch.stack([cosine * mirror, -sine, shift[:, 0]], 1),
            torch.stack([sine * mirror, cosine, shift[:, 1]], 1),
        ]
        return torch.stack(rows, 1)

    def _erased(self, draw: Stream, side: int) -> torch.Tensor:
        """Draw the mask of erased pixels, (B, 1, S, S)."""
        hit, area, log_aspect = draw.chance(self.erase), draw.uniform(low=0.02, high=0.2), _signed(draw)
        half = (area * 2**log_aspect).sqrt() / 2, (area / 2**log_aspect).sqrt() / 2  # height, width
        center = draw.uniform(2)
        position = (torch.arange(side, device=hit.device) + 0.5) / side  # (S,)
        rows, columns = ((position - center[:, i, None]).abs() < half[i][:, None] for i in (0, 1))
        return (hit[:, None, None] & rows[:, :, None] & columns[:, None, :])[:, None]


LIMITS = {"flip": 1.0, "rotation": 180.0, "shift": 0.5, "scale": 1.0, "crop": 0.9, "brightness": 1.0, "contrast": 1.0,
          "erase": 1.0}  # fmt: skip


def make_augment(values: Mapping[str, float | str]) -> Augment:
    """Return an `Augment` with some values changed, numbers or text; raise ``ConfigError`` for invalid ones."""
    numbers = {}
    for name, value in values.items():
        if name not in LIMITS:
            hint = did_you_mean(name, LIMITS)
            raise ConfigError(f"--augment: unknown change '{name}', expected {', '.join(LIMITS)}.{hint}")
        try:
            numbers[name] = float(value)
        except ValueError:
            numbers[name] = math.nan
        if not 0 <= numbers[name] <= LIMITS[name]:
            raise ConfigError(f"--augment: expected {name}=X with X from 0 to {LIMITS[name]:g}, got '{value}'.")
    return Augment(**numbers)


@dataclass(frozen=True)
class View:
    """One deterministic augmented version of each image; number 0 is the unchanged image."""

    number: int = 0
    seed: int = 0
    augment: Augment = Augment()

    def __call__(self, pixels: torch.Tensor, row_ids: Sequence[bytes]) -> torch.Tensor:
        """Return this view of resized pixels (B, C, S, S), 0 to 255.

        It depends only on each image's pixels and row id (`ImageDataset.row_ids`), not on the batch.
        """
        if self.number == 0 or len(pixels) == 0:
            return pixels
        index = torch.tensor([int.from_bytes(row_id[:4], "little") for row_id in row_ids], device=pixels.device)
        return self.augment.apply(pixels, Stream(self.seed * PRIME + self.number, index))

    def to_dict(self) -> dict[str, Any] | None:
        """Return the settings that this view depends on besides its number, as JSON values; ``None`` for view 0."""
        return {"version": VERSION, "seed": self.seed, **asdict(self.augment)} if self.number else None


THE_IMAGE = View()


def _signed(draw: Stream, *shape: int) -> torch.Tensor:
    return draw.uniform(*shape, low=-1.0)
