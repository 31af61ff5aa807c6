"""Optimizers, learning-rate schedules and the moving average of the weights."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

# Default share of the steps in which the learning rate rises.
WARM_UP = {"onecycle": 0.3, "cosine": 0.0, "constant": 0.0}
EMA_RAMP = 10  # update n (from 0) of the average retains at most (1 + n) / (EMA_RAMP + n) of it


def make_optimizer(
    name: str, groups: Sequence[dict[str, Any]], lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Return fused SGD with momentum, or fused AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Parameters
    ----------
    groups : sequence of dict
        ``params`` and optionally ``scale``, a factor on the learning rate.
    """
    groups = [{"scale": 1.0, **group} for group in groups]
    if name == "sgd":
        return torch.optim.SGD(groups, lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr, weight_decay=weight_decay, fused=True)


def layer_groups(stages: Iterable[nn.Module], head: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return groups with layer-wise learning-rate decay (Clark et al. 2020, arXiv:2003.10555).

    The factor is 1 for the head, ``decay`` for the last stage, ``decay`` squared for the one before it.

    Parameters
    ----------
    stages : iterable of nn.Module
        The thawed stages, in the order they run.
    """
    modules = [head, *reversed(list(stages))]
    return [{"params": list(module.parameters()), "scale": decay**depth} for depth, module in enumerate(modules)]


def learning_rate(schedule: str, peak: float, step: int, steps: int, warm_up: float | None = None) -> float:
    """Return the learning rate of a step, 0 to ``steps - 1``; it depends on nothing else, so resuming needs no state.

    ``onecycle`` rises from a 25th of the peak and falls to nearly zero, both along a half cosine (Smith & Topin 2019,
    arXiv:1708.07120); ``cosine`` falls (Loshchilov & Hutter 2017, arXiv:1608.03983) and ``constant`` stays, both after
    a linear warm-up (Goyal et al. 2017, arXiv:1706.02677).

    Parameters
    ----------
    warm_up : float, optional
        Share of the steps in which the learning rate rises; by default `WARM_UP`.
    """
    rise = WARM_UP[schedule] if warm_up is None else warm_up
    done = step / max(1, steps - 1)
    if done < rise:
        if schedule == "onecycle":
            return _half_cosine(peak / 25, peak, done / rise)
        return peak * (step + 1) / (rise * max(1, steps - 1) + 1)
    if schedule == "constant":
        return peak
    return _half_cosine(peak, peak * 1e-4, (done - rise) / (1 - rise) if rise < 1 else 0.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def averaged_model(module: nn.Module, decay: float) -> AveragedModel:
    """Return an exponential moving average of a module's weights (Polyak & Juditsky 1992).

    It starts as a copy and follows quickly at first, like TensorFlow's `ExponentialMovingAverage`. ``decay`` is the
    share of the average, 0 to 1, that an update retains.
    """

    def average(old: torch.Tensor, new: torch.Tensor, updates: torch.Tensor | int) -> torch.Tensor:
        if not new.is_floating_point():  # a counter
            return new
        done = int(updates) - 1  # the initial copy counts as an update
        return old.lerp(new, 1 - min(decay, (1 + done) / (EMA_RAMP + done)))

    averaged = AveragedModel(module, avg_fn=average, use_buffers=True).requires_grad_(False)
    averaged.n_averaged.fill_(1)  # the copy counts: with 0 the first update would replace it
    return averaged
