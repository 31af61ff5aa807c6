"""How pixels become a network's input: a spec that is saved with every model, and the code that obeys it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name all of torch's users know)
from numpy.typing import NDArray

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocess:
    """Resize the shorter side, crop the centre, scale to 0..1, repeat grey three times, subtract mean, divide by std.

    The resize is bilinear or bicubic on real numbers, antialiased when it shrinks (as
    ``torch.nn.functional.interpolate`` defines it); nothing is rounded back to bytes.

    Parameters
    ----------
    image_size : int
        Side of the square input, in pixels.
    mean, std : tuple of float
        Per channel (red, green, blue), of values in 0..1. ImageNet's by default.
    interpolation : str
        ``bilinear`` or ``bicubic``; what bicubic puts beyond 0 or 255 is cut off.
    """

    image_size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"

    def resize(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return float32 pixels 0..255, resized and cropped.

        Parameters
        ----------
        images : ndarray (B, H, W) or (B, H, W, 3), or a sequence of (H, W) and (H, W, 3)
            Bytes.

        Returns
        -------
        Tensor
            (B, 1, S, S) when every image is grey, else (B, 3, S, S), with S the image size.
        """
        if isinstance(images, np.ndarray):
            return self._resize(_channels_first(images))
        parts = [self._resize(_channels_first(image[None])) for image in images]
        channels = max((part.shape[1] for part in parts), default=1)
        return torch.cat([part.expand(-1, channels, -1, -1) for part in parts])

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[-2:]
        scale = self.image_size / min(height, width)
        size = (max(self.image_size, round(height * scale)), max(self.image_size, round(width * scale)))
        if size != (height, width):
            pixels = F.interpolate(pixels, size=size, mode=self.interpolation, antialias=True)
            pixels = pixels.clamp_(0, 255) if self.interpolation == "bicubic" else pixels
        top, left = (size[0] - self.image_size) // 2, (size[1] - self.image_size) // 2
        return pixels[..., top : top + self.image_size, left : left + self.image_size]

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Turn pixels 0..255, (B, 1, S, S) or (B, 3, S, S), into the network's input (B, 3, S, S)."""
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]  # (3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]  # (3, 1, 1)
        return (pixels / 255 - mean) / std

    def __call__(self, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Return the network's input for a batch of images; see `resize` for what may come in."""
        return self.normalise(self.resize(images))

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        values = asdict(self)
        resize = f"shorter side, {values.pop('interpolation')}, antialiased"
        return {"version": 1, "resize": resize, "crop": "centre", **values}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocess":
        """Rebuild the spec from `to_dict`."""
        interpolation = values["resize"].split(", ")[1]
        return cls(values["image_size"], tuple(values["mean"]), tuple(values["std"]), interpolation)


def _channels_first(images: NDArray[np.uint8]) -> torch.Tensor:
    array = images[:, None] if images.ndim == 3 else np.moveaxis(images, -1, 1)
    return torch.from_numpy(np.array(array, dtype=np.float32))  # (B, C, H, W)
