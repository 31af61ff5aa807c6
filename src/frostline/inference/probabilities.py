"""The whole network as a function from pixels to class probabilities."""

import torch
from torch import nn

from frostline.features.forward import FastForward
from frostline.runs.bundle import Model


class Probabilities:
    """A model's frozen stages, thawed stages, head and softmax, computed by torch.

    Parameters
    ----------
    model : Model
        Its modules are moved to ``device``.
    device : torch.device

    Attributes
    ----------
    forward : FastForward
        The frozen stages, with the preprocessing.
    after : Module
        Features to probabilities.
    """

    def __init__(self, model: Model, device: torch.device) -> None:
        self.forward = FastForward(model.frozen, model.preprocess, device)
        self.after = nn.Sequential(model.trained, nn.Softmax(1)).to(device).eval()

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return probabilities (B, classes) float32 of resized pixels 0..255, (B, 1, S, S) or (B, 3, S, S)."""
        probabilities: torch.Tensor = self.after(self.forward(pixels))
        return probabilities
