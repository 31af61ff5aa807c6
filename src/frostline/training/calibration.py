"""Calibrate probabilities with one temperature for all logits, fitted on the validation split."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline._utils.progress import log
from frostline.models.heads import Head
from frostline.training.examples import Examples
from frostline.training.trainer import predict_logits


def calibrate(module: nn.Module, head: Head, val: Examples) -> float:
    """Divide the logits of ``head``, with which ``module`` ends, by the best temperature for ``val``; return it.

    Predicted classes do not change, only their probabilities: label smoothing, for example, leaves them too low.
    """
    logits = predict_logits(module, val)
    temperature = best_temperature(logits, torch.from_numpy(val.labels))
    head.soften(temperature)
    log.debug("calibrated on the validation split: temperature %.3g", temperature)
    return temperature


def best_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Return T that minimizes the cross-entropy of ``logits / T`` (Guo et al. 2017, arXiv:1706.04599).

    Targets are about 1 - 1 / (N + 2) instead of 1, as in Platt's scaling: N correct predictions do not prove that the
    probability of an error is zero.

    Parameters
    ----------
    logits : Tensor (N, classes)
    labels : Tensor (N,)
    """
    from scipy.optimize import minimize_scalar

    smoothing = 1 / (len(labels) + 2)

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits / 10**log_temperature, labels, label_smoothing=smoothing).item()

    return float(10 ** minimize_scalar(loss, bounds=(-4, 2), method="bounded").x)
