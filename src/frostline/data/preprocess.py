"""How pixels become a network's input: a spec that is saved with every model, and the code that obeys it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name all of torch's users know)
from numpy.typing import NDArray

from frostline.data.decoding.decode import center_squares
from frostline.data.levels import Levels
from frostline.errors import ConfigError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic")
MAX_IMAGE_SIZE = 8192  # pixels a side
VERSION = 2  # of how images are shrunk, cropped and resized


@dataclass(frozen=True)
class Preprocess:
    """Crop the center square, resize it, scale to 0..1, repeat gray three times, subtract mean, divide by std.

    An image is first halved, in bytes, as often as its sides stay at least the image size; a JPEG file as it is
    decoded: hand the image size to `frostline.data.decoding.decode.decode_image`. The resize that follows is bilinear
    or bicubic on real numbers, antialiased when it shrinks (as ``torch.nn.functional.interpolate`` defines it), and
    nothing is rounded back to bytes.

    Parameters
    ----------
    image_size : int
        Side of the square input, in pixels.
    mean, std : tuple of float
        Per channel (red, green, blue), of values in 0..1. ImageNet's by default.
    interpolation : str
        ``bilinear`` or ``bicubic``; what bicubic puts beyond 0 or 255 is cut off.
    levels : Levels, optional
        How files of more than 8 bits, or with transparency, become bytes: hand them to `decode_image`, too.
    """

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    levels: Levels | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise ConfigError(f"image size {self.image_size:,}: expected 1 to {MAX_IMAGE_SIZE:,} pixels.")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(f"interpolation '{self.interpolation}': expected one of {', '.join(INTERPOLATIONS)}.")
        for name, values, ranges in (("mean", self.mean, "0 to 1"), ("std", self.std, "above 0, up to 10")):
            fits = [0 <= value <= 1 if name == "mean" else 0 < value <= 10 for value in values]
            if len(values) != 3 or not all(fits):
                raise ConfigError(f"{name} {values}: expected three numbers, {ranges}, for pixel values in 0 to 1.")

    def resize(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return float32 pixels 0..255, resized and cropped.

        Parameters
        ----------
        images : ndarray (B, H, W) or (B, H, W, 3), or a sequence of (H, W) and (H, W, 3)
            Bytes.

        Returns
        -------
        Tensor
            (B, 1, S, S) when every image is gray, else (B, 3, S, S), with S the image size.
        """
        if isinstance(images, np.ndarray):
            return self._resize(images)
        parts = [self._resize(image[None]) for image in images]
        channels = max((part.shape[1] for part in parts), default=1)
        return torch.cat([part.expand(-1, channels, -1, -1) for part in parts])

    def _resize(self, images: NDArray[np.uint8]) -> torch.Tensor:
        pixels = _channels_first(center_squares(images, self.image_size))  # (B, C, s, s)
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] == size:
            return pixels
        pixels = F.interpolate(pixels, size=size, mode=self.interpolation, antialias=True)
        return pixels.clamp_(0, 255) if self.interpolation == "bicubic" else pixels

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels 0..255, (B, 1, S, S) or (B, 3, S, S), into the network's input (B, 3, S, S)."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]  # (3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]  # (3, 1, 1)
        return (pixels / 255 - mean) / std

    def __call__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return the network's input for a batch of images; see `resize` for what may come in."""
        return self.normalize(self.resize(images))

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        values = asdict(self)
        del values["levels"]
        levels = {"levels": self.levels.to_dict()} if self.levels else {}
        return {
            "version": VERSION,
            "shrink": "halved while at least image_size; JPEG files as they are decoded",
            "crop": "centre square",  # in the digests of stores on disk
            "resize": f"{values.pop('interpolation')}, antialiased",
            **values,
            **levels,  # only where a data set needs them: other activations do not depend on them
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Rebuild the spec from `to_dict`.

        Raises
        ------
        ValueError
            When it is of another version: the same image would give other pixels.
        """
        if values["version"] != VERSION:
            raise ValueError(f"preprocessing of version {values['version']}, this Frostline has {VERSION}")
        interpolation = values["resize"].split(", ")[0]
        levels = Levels.from_dict(values["levels"]) if "levels" in values else None
        return cls(values["image_size"], tuple(values["mean"]), tuple(values["std"]), interpolation, levels)


def _channels_first(images: NDArray[np.uint8]) -> torch.Tensor:
    array = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return torch.from_numpy(np.array(array, dtype=np.float32))  # (B, C, H, W)
