"""Which settings of a training are in force; the others do not change its result."""

from collections.abc import Mapping
from typing import Any

from frostline.config import TrainConfig
from frostline.pipeline.phases import STEPWISE

FINE_TUNING = ("schedule", "head_epochs", "head_lr", "layer_decay", "batch_norm", "amp")  # of thawed stages


def in_force(config: TrainConfig, *, thaws: bool) -> frozenset[str]:
    """Return the names of the settings that are in force in a training.

    A head in closed form has no settings of gradient descent, only it has a prior, only an MLP has hidden units and
    dropout, only SGD has a momentum, and a training of the head alone has no settings of thawed stages.

    Parameters
    ----------
    config : TrainConfig
        Resolved.
    thaws : bool
        Whether stages are thawed.
    """
    closed = config.head == "ridge"
    unused = {*STEPWISE, "clip_norm"} if closed else {"prior"}
    if config.head != "mlp":
        unused |= {"hidden_width", "dropout"}
    if config.optimizer != "sgd":
        unused |= {"momentum"}
    if not thaws:
        unused |= {*FINE_TUNING}
    elif config.schedule == "together":
        unused |= {"head_epochs", "head_lr"}
    return frozenset(TrainConfig.model_fields) - unused


def in_force_of_run(config: TrainConfig, metrics: Mapping[str, Any] | None = None) -> frozenset[str]:
    """Return the names of the settings that are in force in a run, from its settings and, if finished, its metrics."""
    thaws = config.head != "ridge" and (config.head_epochs is not None or config.schedule == "together")
    if metrics and "schedule" in metrics["model"]:  # None: nothing was thawed; earlier versions did not record it
        thaws = metrics["model"]["schedule"] is not None
    return in_force(config, thaws=thaws)
