"""Search space of `frostline tune`, and its first point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.errors import ConfigError, UnknownNameError
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE
from frostline.pipeline.phases import peak_lr, stepwise

# Name: (setting that must be unset for it to be searched by default, title).
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
# Affect the head only: features are shared.
USUAL = ("lr", "weight_decay", "head", "taps", "label_smoothing", "batch_size")
HIDDEN_WIDTHS = (64,)  # of the mlp head: train's default of 512 units takes ten times as long
BATCH_SIZES = (128, 256)  # smaller: more steps; larger: more epochs on few images; both take longer
VIEWS = 4
FURTHER_STAGES = 2  # thawed at most in a search of the freeze boundary, from the configured boundary on
DECIDING = ("head", "freeze")  # decide which of the others are in force
LR_FACTOR = 10.0  # the learning rate is searched from a tenth to ten times the default


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, on a logarithmic scale with ``log``."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """Named options, each with its settings."""

    options: Mapping[str, Mapping[str, Any]]


Space = dict[str, Range | Choice]
Values = dict[str, Any]  # by name: a number of a range or the name of an option


def searched_names(config: TrainConfig, search: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names to search: those requested, else the usual ones whose settings are unset."""
    for name in search or ():
        if name not in SEARCHED:
            raise UnknownNameError("thing to search", name, SEARCHED)
    if config.head == "ridge":
        raise ConfigError(
            "--head ridge chooses its only hyperparameter itself: there is nothing to tune; choose another --head."
        )
    if search is not None:
        names = tuple(name for name in SEARCHED if name in search)
    else:
        names = tuple(name for name in USUAL if SEARCHED[name][0] not in config.model_fields_set)
    if not names:
        raise ConfigError(
            "nothing to search: every setting is set. Leave some unset, or name them: "
            f"--search {','.join(USUAL)} (further: {', '.join(name for name in SEARCHED if name not in USUAL)})."
        )
    return names


def searched_settings(config: TrainConfig, names: Sequence[str]) -> TrainConfig:
    """Return the settings with which trials are resolved.

    On few images the default is a ridge head, which has none of the searched hyperparameters: it stays one of the
    options where the head is searched, and is excluded otherwise and where stages are thawed.
    """
    return config if "head" in names and "freeze" not in names else stepwise(config)


def make_space(names: Sequence[str], config: TrainConfig, shape: Backbone) -> tuple[Space, Values]:
    """Return the search space and the values of the first trial: the configured ones or the defaults.

    Parameters
    ----------
    config : TrainConfig
        Resolved.
    shape : Backbone
        The network, for the names of its stages.
    """
    made = {
        "lr": lambda: _lr(config),
        "weight_decay": lambda: _range(config.weight_decay, 1e-3, 1.0, log=True),
        "head": lambda: _head(config),
        "taps": lambda: _taps(config, shape),
        "label_smoothing": lambda: _range(config.label_smoothing, 0.0, 0.3),
        "batch_size": lambda: _batch_size(config),
        "freeze": lambda: _freeze(config, shape),
        "augment": lambda: _views(config),
    }
    both = {name: made[name]() for name in names}
    fixed = [name for name, (place, _) in both.items() if isinstance(place, Choice) and len(place.options) < 2]
    for name in fixed:
        log.info("%s: only one option with these settings, not searched", SEARCHED[name][1])
        del both[name]
    return {name: place for name, (place, _) in both.items()}, {name: start for name, (_, start) in both.items()}


def settings(space: Space, values: Values) -> dict[str, Any]:
    """Return the settings for some values, of all or a part of the names."""
    changes: dict[str, Any] = {}
    for name, value in values.items():
        place = space[name]
        changes |= place.options[value] if isinstance(place, Choice) else {name: value}
    return changes


def decision_order(space: Space) -> list[str]:
    """Return the names in the order in which a trial's values are chosen: first those that others depend on."""
    return sorted(space, key=lambda name: name not in DECIDING)


def combinations(space: Space) -> list[Values]:
    """Return every combination of the named options, without values for ranges."""
    choices = {name: place.options for name, place in space.items() if isinstance(place, Choice)}
    return [dict(zip(choices, names, strict=True)) for names in product(*choices.values())]


def _range(start: float, low: float, high: float, *, log: bool = False) -> tuple[Range | Choice, Any]:
    if log and start <= 0:
        start = low
    return Range(min(low, start), max(high, start), log), start


def _lr(config: TrainConfig) -> tuple[Range | Choice, Any]:
    head = "linear" if config.head == "ridge" else config.head
    usual = peak_lr(config.model_copy(update={"lr": None, "head": head}), thaws=config.freeze == NONE)
    return _range(config.lr or usual, usual / LR_FACTOR, usual * LR_FACTOR, log=True)


def _head(config: TrainConfig) -> tuple[Range | Choice, Any]:
    widths = sorted({*HIDDEN_WIDTHS, *([config.hidden_width] if config.head == "mlp" else [])})
    kinds = ("linear", "ridge") if config.head == "ridge" else ("linear",)
    options: dict[str, dict[str, Any]] = {kind: {"head": kind} for kind in kinds}
    options |= {f"mlp {n}": {"head": "mlp", "hidden_width": n} for n in widths}
    return Choice(options), f"mlp {config.hidden_width}" if config.head == "mlp" else config.head


def _taps(config: TrainConfig, shape: Backbone) -> tuple[Range | Choice, Any]:
    """From all taps down to the last one: their features are columns of the features of all taps."""
    taps = tuple(config.taps)
    widest = taps or (shape.usual_taps if config.freeze == shape.feature_stage else ())
    options = {",".join(widest[first:]): {"taps": widest[first:]} for first in range(len(widest))}
    return Choice(options), ",".join(taps or widest[-1:])


def _batch_size(config: TrainConfig) -> tuple[Range | Choice, Any]:
    sizes = sorted({*BATCH_SIZES, config.batch_size})
    return Choice({str(n): {"batch_size": n} for n in sizes}), str(config.batch_size)


def _freeze(config: TrainConfig, shape: Backbone) -> tuple[Range | Choice, Any]:
    if config.freeze == NONE:
        raise ConfigError(
            "--search freeze starts at the configured boundary and thaws further stages: give --freeze a stage."
        )
    depth = shape.position(config.freeze)
    stages = shape.stage_names[max(0, depth - FURTHER_STAGES) : depth + 1]
    return Choice({name: {"freeze": name} for name in reversed(stages)}), config.freeze


def _views(config: TrainConfig) -> tuple[Range | Choice, Any]:
    start = config.views or 1
    numbers = sorted({1, VIEWS, start})
    options: dict[str, dict[str, Any]] = {"none": {"views": 1, "augment": {}}}
    options |= {f"{n} views": {"views": n} for n in numbers if n > 1}
    return Choice(options), "none" if start == 1 else f"{start} views"
