"""Optimizers and learning rates over time."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn

# Share of the steps that the learning rate climbs for, where nothing else is asked for.
WARM_UP = {"onecycle": 0.3, "cosine": 0.0, "constant": 0.0}


def make_optimizer(
    name: str, groups: Sequence[dict[str, Any]], lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), in one fused step.

    Parameters
    ----------
    groups : sequence of dict
        ``params`` and, where not 1, ``scale``: their share of the learning rate.
    """
    groups = [{"scale": 1.0, **group} for group in groups]
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr, weight_decay=weight_decay, fused=True)


def layer_groups(stages: Iterable[nn.Module], head: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return groups whose share of the learning rate falls with depth (Clark et al. 2020, arXiv:2003.10555).

    It is 1 for the head, ``decay`` for the last stage, ``decay`` squared for the one before it.

    Parameters
    ----------
    stages : iterable of nn.Module
        The thawed stages, in the order they run.
    """
    modules = [head, *reversed(list(stages))]
    return [{"params": list(module.parameters()), "scale": decay**depth} for depth, module in enumerate(modules)]


def learning_rate(schedule: str, peak: float, step: int, steps: int, warm_up: float | None = None) -> float:
    """Return the learning rate of a step, 0 to ``steps - 1``: a function of the step alone, so resuming needs no state.

    ``onecycle`` climbs from a 25th of the peak and falls to nothing, both along a half cosine (Smith & Topin 2019,
    arXiv:1708.07120); ``cosine`` falls (Loshchilov & Hutter 2017, arXiv:1608.03983) and ``constant`` stays, both after
    climbing in a straight line for as long as ``warm_up`` says (Goyal et al. 2017, arXiv:1706.02677).

    Parameters
    ----------
    warm_up : float, optional
        Share of the steps that the learning rate climbs for; `WARM_UP` when left out.
    """
    climb = WARM_UP[schedule] if warm_up is None else warm_up
    done = step / max(1, steps - 1)
    if done < climb:
        if schedule == "onecycle":
            return _between(peak / 25, peak, done / climb)
        return peak * (step + 1) / (climb * max(1, steps - 1) + 1)
    if schedule == "constant":
        return peak
    return _between(peak, peak * 1e-4, (done - climb) / (1 - climb) if climb < 1 else 0.0)


def _between(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
