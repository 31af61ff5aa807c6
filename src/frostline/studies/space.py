"""What `frostline tune` searches, and where it begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.errors import ConfigError, UnknownNameError
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE
from frostline.pipeline.defaults import STEPWISE, peak_lr, stepwise

# Name: the setting that must be open for it to be searched, and what it is.
SEARCHED: dict[str, tuple[str, str]] = {
    "lr": ("lr", "learning rate"),
    "weight_decay": ("weight_decay", "weight decay"),
    "head": ("head", "head"),
    "taps": ("taps", "stages the head reads"),
    "label_smoothing": ("label_smoothing", "label smoothing"),
    "batch_size": ("batch_size", "batch size"),
    "freeze": ("freeze", "last frozen stage"),
    "augment": ("views", "augmentation"),
}
USUAL = ("lr", "weight_decay", "head", "taps", "label_smoothing", "batch_size")  # a head alone, on kept rows
HIDDEN_WIDTHS = (64,)  # of the mlp head: train's 512 units would take ten times as long
BATCH_SIZES = (128, 256)  # fewer: more steps; more: more passes over few images; both take longer
VIEWS = 4
FURTHER_STAGES = 2  # that a search of the boundary thaws at most, beginning with the boundary asked for
LR_FACTOR = 10.0  # the learning rate is searched from a tenth of the usual one to ten times as much


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; over their logarithm with ``log``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """Named options, each with the settings that it stands for."""

    options: Mapping[str, Mapping[str, Any]]


Space = dict[str, Range | Choice]
Values = dict[str, Any]  # by name: a number of a range, or the name of an option


def searched_names(config: TrainConfig, search: Sequence[str] | None) -> tuple[str, ...]:
    """Return what is searched: the names asked for, else the usual ones that the settings leave open.

    Raises
    ------
    UnknownNameError, ConfigError
    """
    for name in search or ():
        if name not in SEARCHED:
            raise UnknownNameError("thing to search", name, SEARCHED)
    if config.head == "ridge":
        raise ConfigError("--head ridge chooses its one strength by itself: nothing is left for tune to search.")
    if search is not None:
        names = tuple(name for name in SEARCHED if name in search)
    else:
        names = tuple(name for name in USUAL if SEARCHED[name][0] not in config.model_fields_set)
    if not names:
        raise ConfigError(
            "nothing is left to search: every setting was given. Leave some out, or name them: "
            f"--search {','.join(USUAL)} (further: {', '.join(name for name in SEARCHED if name not in USUAL)})."
        )
    return names


def searched_settings(config: TrainConfig, names: Sequence[str]) -> TrainConfig:
    """Return the settings that a search leaves open: a head in closed form is one to choose, or it is in the way.

    Train itself takes that head on few images. It knows no other setting that is searched, so there it is one of the
    heads to choose from; where no head is searched, or stages are thawed, all trials are trained step by step.
    """
    return config if "head" in names and "freeze" not in names else stepwise(config)


def make_space(names: Sequence[str], config: TrainConfig, shape: Backbone) -> tuple[Space, Values]:
    """Return what is searched, and the values that the first trial has: those asked for, or train's own.

    Parameters
    ----------
    config : TrainConfig
        With nothing left open.
    shape : Backbone
        The network, for the names of its stages.
    """
    made = {
        "lr": lambda: _lr(config),
        "weight_decay": lambda: _range(config.weight_decay, 1e-3, 1.0, log=True),
        "head": lambda: _head(config),
        "taps": lambda: _taps(config, shape),
        "label_smoothing": lambda: _range(config.label_smoothing, 0.0, 0.3),
        "batch_size": lambda: _choice(
            {str(n): {"batch_size": n} for n in sorted({*BATCH_SIZES, config.batch_size})}, str(config.batch_size)
        ),
        "freeze": lambda: _freeze(config, shape),
        "augment": lambda: _views(config),
    }
    both = {name: made[name]() for name in names}
    fixed = [name for name, (place, _) in both.items() if isinstance(place, Choice) and len(place.options) < 2]
    for name in fixed:
        log.info("%s: there is no choice with these settings, so it is not searched", SEARCHED[name][1])
        del both[name]
    return {name: place for name, (place, _) in both.items()}, {name: start for name, (_, start) in both.items()}


def effective_params(values: Values) -> Values:
    """Return the values that a trial heeds: a head in closed form knows no setting of a stepwise training."""
    closed = values.get("head") == "ridge"
    return {name: value for name, value in values.items() if not (closed and SEARCHED[name][0] in STEPWISE)}


def settings(space: Space, values: Values) -> dict[str, Any]:
    """Return the settings that some values stand for."""
    changes: dict[str, Any] = {}
    for name, place in space.items():
        changes |= place.options[values[name]] if isinstance(place, Choice) else {name: values[name]}
    return changes


def _range(start: float, low: float, high: float, *, log: bool = False) -> tuple[Range | Choice, Any]:
    if log and start <= 0:
        start = low
    return Range(min(low, start), max(high, start), log), start


def _choice(options: Mapping[str, Mapping[str, Any]], start: str) -> tuple[Range | Choice, Any]:
    return Choice(options), start


def _lr(config: TrainConfig) -> tuple[Range | Choice, Any]:
    head = "linear" if config.head == "ridge" else config.head
    usual = peak_lr(config.model_copy(update={"lr": None, "head": head}), thaws=config.freeze == NONE)
    return _range(config.lr or usual, usual / LR_FACTOR, usual * LR_FACTOR, log=True)


def _head(config: TrainConfig) -> tuple[Range | Choice, Any]:
    widths = sorted({*HIDDEN_WIDTHS, *([config.hidden_width] if config.head == "mlp" else [])})
    kinds = ("linear", "ridge") if config.head == "ridge" else ("linear",)
    options: dict[str, dict[str, Any]] = {kind: {"head": kind} for kind in kinds}
    options |= {f"mlp {n}": {"head": "mlp", "hidden_width": n} for n in widths}
    return _choice(options, f"mlp {config.hidden_width}" if config.head == "mlp" else config.head)


def _taps(config: TrainConfig, shape: Backbone) -> tuple[Range | Choice, Any]:
    """From the widest set of stages down to the last one alone: their rows are columns of the widest rows."""
    taps = tuple(config.taps)
    widest = taps or (shape.usual_taps if config.freeze == shape.feature_stage else ())
    options = {_joined(widest[first:]): {"taps": widest[first:]} for first in range(len(widest))}
    return _choice(options, _joined(taps or widest[-1:]))


def _joined(taps: Sequence[str]) -> str:
    return ",".join(taps)


def _freeze(config: TrainConfig, shape: Backbone) -> tuple[Range | Choice, Any]:
    if config.freeze == NONE:
        raise ConfigError("--search freeze begins at the boundary asked for and thaws more: --freeze a stage.")
    depth = shape.position(config.freeze)
    stages = shape.stage_names[max(0, depth - FURTHER_STAGES) : depth + 1]
    return _choice({name: {"freeze": name} for name in reversed(stages)}, config.freeze)


def _views(config: TrainConfig) -> tuple[Range | Choice, Any]:
    start = config.views or 1
    numbers = sorted({1, VIEWS, start})
    options: dict[str, dict[str, Any]] = {f"{n} views": {"views": n} for n in numbers if n > 1}
    options = {"none": {"views": 1, "augment": {}}} | options
    return _choice(options, "none" if start == 1 else f"{start} views")
