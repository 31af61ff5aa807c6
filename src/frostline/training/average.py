"""An exponential moving average of the weights: what many small steps wander about, without the wandering."""

import copy

import torch
from torch import nn

RAMP = 10  # the first steps move fast: update n keeps at most (1 + n) / (RAMP + n) of what was


class Average:
    """A copy of a module that follows it slowly (Polyak & Juditsky 1992; as `ExponentialMovingAverage` of TensorFlow).

    Parameters
    ----------
    module : nn.Module
        Copied as it is now.
    decay : float
        How much of the average an update keeps, 0 to 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module as it is now; whole numbers, such as counters, are taken over."""
        keep = min(self.decay, (1 + self.updates) / (RAMP + self.updates))
        self.updates += 1
        ours, now = self.module.state_dict(), module.state_dict()
        for key, value in now.items():
            if value.is_floating_point():
                ours[key].lerp_(value, 1 - keep)
            else:
                ours[key].copy_(value)
