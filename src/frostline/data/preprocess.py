"""Preprocessing of images into a network's input; the spec is saved with every model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the usual name)
from numpy.typing import NDArray

from frostline.data.decoding.target import CROPS, FITS, Target, fit_of
from frostline.data.levels import Levels
from frostline.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")
MAX_IMAGE_SIZE = 8192  # pixels a side
VERSION = 2  # of how images are shrunk, cropped and resized


@dataclass(frozen=True)
class Preprocess:
    """Make an image square, resize it, scale to 0..1, repeat gray three times, subtract mean, divide by std.

    An image is first halved, in bytes, while it stays at least as large as the input; a JPEG file while it is decoded
    (pass `target` to `frostline.data.decoding.decode.decode_image`). The following resize is bilinear or bicubic in
    float32, antialiased when it shrinks (as in ``torch.nn.functional.interpolate``), without rounding to bytes.

    Parameters
    ----------
    image_size : int
        Side of the square input, in pixels.
    mean, std : tuple of float
        Per channel (red, green, blue), of values in 0..1. ImageNet's by default.
    interpolation : str
        ``bilinear`` or ``bicubic``, whose result is clipped to 0..255.
    levels : Levels, optional
        Value scale of files with more than 8 bits, and background of transparent ones: pass it to `decode_image`, too.
    fit : str
        ``crop``: the square in the center; ``pad``: the whole image, with the mean of its border beside or above and
        below it; ``squash``: the whole image, both sides resized.
    """

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    levels: Levels | None = None
    fit: str = "crop"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ConfigError(f"fit '{self.fit}': expected one of {', '.join(FITS)}.")
        if not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise ConfigError(f"image size {self.image_size:,}: expected 1 to {MAX_IMAGE_SIZE:,} pixels.")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(f"interpolation '{self.interpolation}': expected one of {', '.join(INTERPOLATIONS)}.")
        for name, values, ranges in (("mean", self.mean, "0 to 1"), ("std", self.std, "above 0, up to 10")):
            fits = [0 <= value <= 1 if name == "mean" else 0 < value <= 10 for value in values]
            if len(values) != 3 or not all(fits):
                raise ConfigError(f"{name} {values}: expected three numbers, {ranges}, for pixel values in 0 to 1.")

    @property
    def target(self) -> Target:
        """The input, for decoding."""
        return Target(self.image_size, self.fit)

    def resize(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Make uint8 images square and resize them.

        They are an array (B, H, W) or (B, H, W, 3), or a sequence of (H, W) and (H, W, 3).
        Returns float32 pixels 0..255, (B, 1, S, S) when all images are gray, else (B, 3, S, S), with S the image size.
        """
        if isinstance(images, np.ndarray):
            return self._resize(images)
        parts = [self._resize(image[None]) for image in images]
        channels = max((part.shape[1] for part in parts), default=1)
        return torch.cat([part.expand(-1, channels, -1, -1) for part in parts])

    def _resize(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = _channels_first(self.target.apply_to_all(images))  # (B, C, s, s)
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] == size:
            return pixels
        pixels = F.interpolate(pixels, size=size, mode=self.interpolation, antialias=True)
        return pixels.clamp_(0, 255) if self.interpolation == "bicubic" else pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert pixels 0..255, (B, 1, S, S) or (B, 3, S, S), to the network's input (B, 3, S, S)."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]  # (3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]  # (3, 1, 1)
        return (pixels / 255 - mean) / std

    def __call__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return the network's input for a batch of images; see `resize` for their format."""
        return self.normalize(self.resize(images))

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        values = asdict(self)
        del values["levels"]
        levels = {"levels": self.levels.to_dict()} if self.levels else {}
        return {
            "version": VERSION,
            "shrink": "halved while at least image_size; JPEG files as they are decoded",
            "crop": CROPS[values.pop("fit")],
            "resize": f"{values.pop('interpolation')}, antialiased",
            **values,
            **levels,  # only if set, to leave the digests of other data sets unchanged
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Restore the spec from `to_dict`; raise ``ValueError`` for another version, which gives other pixels."""
        if values["version"] != VERSION:
            raise ValueError(f"preprocessing of version {values['version']}, this Frostline has {VERSION}")
        interpolation = values["resize"].split(", ")[0]
        levels = Levels.from_dict(values["levels"]) if "levels" in values else None
        fit = fit_of(values["crop"])
        return cls(values["image_size"], tuple(values["mean"]), tuple(values["std"]), interpolation, levels, fit)


def _channels_first(images: NDArray[np.uint8]) -> torch.Tensor:
    array = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return torch.from_numpy(np.array(array, dtype=np.float32))  # (B, C, H, W)
