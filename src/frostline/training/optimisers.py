"""Optimisers and learning rates over time."""

import math
from collections.abc import Iterable

import torch
from torch import nn

WARM_UP = 0.3  # share of the steps that one-cycle climbs for


def make_optimiser(
    name: str, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101)."""
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def learning_rate(schedule: str, peak: float, step: int, steps: int) -> float:
    """Return the learning rate of a step, 0 to ``steps - 1``: a function of the step alone, so resuming needs no state.

    ``onecycle`` climbs from a 25th of the peak and falls to nothing, both along a half cosine (Smith & Topin 2019,
    arXiv:1708.07120); ``cosine`` only falls (Loshchilov & Hutter 2017, arXiv:1608.03983).
    """
    done = step / max(1, steps - 1)
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return _between(peak, peak * 1e-4, done)
    if done < WARM_UP:
        return _between(peak / 25, peak, done / WARM_UP)
    return _between(peak, peak * 1e-4, (done - WARM_UP) / (1 - WARM_UP))


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
