"""Rank networks by what their frozen features tell about a data set's classes, on training images alone."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from frostline._utils.device import cores
from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.data.splits import limited
from frostline.errors import ConfigError
from frostline.features.extract import fill
from frostline.features.forward import FastForward, preprocess_for
from frostline.features.store import feature_key
from frostline.models.backbone import Backbone
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import NETWORKS, find_network, load_backbone
from frostline.pipeline.context import Context

AUTO = "auto"
ALWAYS_HERE = "efficientnet-lite0"  # installed with Frostline: stands for the others while settings are checked
IMAGES = 1_000  # that networks are compared on, at most
FOLDS = 5
SEED = 0  # of sample and folds: the choice is the same for every seed of a run
STRENGTHS = (0.01, 0.1, 1.0)  # of the L2 penalty, relative to the mean squared norm of a row
SPREAD = (1, 2, 4, 6)  # stages that are tried together where a network has no usual taps, counted from its last


@dataclass(frozen=True)
class RankedNetwork:
    """A network and the stages that the head reads, with its cross-validated accuracy.

    Attributes
    ----------
    model, weights : str
        As ``--model`` and ``--weights`` name them.
    taps : tuple of str
        Empty: the last frozen stage alone.
    image_size : int
        Side in pixels.
    accuracy : float
        Share of the training images that a closed-form head on the other folds classifies correctly.
    standard_error : float
    operations : float
        Multiply-accumulates for an image: what the network costs, on any machine.
    """

    model: str
    weights: str
    taps: tuple[str, ...]
    image_size: int
    accuracy: float
    standard_error: float
    operations: float


def candidates(context: Context) -> list[str]:
    """Return the networks whose pre-trained weights are on this machine: none is downloaded to be tried."""
    return [name for name in NETWORKS if local_weights(name, context) is not None]


def local_weights(name: str, context: Context) -> str | None:
    """Return what ``--weights`` calls the pre-trained weights of a network that are on this machine."""
    offer = find_network(name).offer
    if offer.published is not None and offer.published.find(context.cache) is not None:
        return offer.word
    return "bundled" if offer.bundled else None


def rank_networks(
    images: ImageDataset,
    names: Sequence[str],
    context: Context,
    *,
    count: int = IMAGES,
    image_size: int | None = None,
) -> list[RankedNetwork]:
    """Compare networks on a stratified sample of the training images, the best first.

    Each network's features are computed once and cached; a closed-form head is cross-validated on them. Images of a
    group, such as near-duplicates, are in the same fold.

    Parameters
    ----------
    images : ImageDataset
        Training images.
    names : sequence of str
    context : Context
    count : int
        Images to compare on, at most.
    image_size : int, optional
        In pixels; each network's usual size when left out.

    Raises
    ------
    ConfigError
        When the weights of a network are not on this machine.
    DataError
    """
    sample = images.subset(limited(images.labels, count, SEED))
    ranked = [one for name in names for one in _rank(name, sample, context, image_size)]
    return sorted(ranked, key=lambda one: (-one.accuracy, one.operations, one.taps))


def best_value(ranked: Sequence[RankedNetwork]) -> RankedNetwork:
    """Return the cheapest network within one standard error of the most accurate one (Breiman et al. 1984)."""
    best = max(ranked, key=lambda one: one.accuracy)
    close = [one for one in ranked if one.accuracy >= best.accuracy - best.standard_error]
    return min(close, key=lambda one: (one.operations, -one.accuracy))


def check_auto(config: TrainConfig) -> None:
    """Reject settings that name weights or stages while the network is not named.

    Raises
    ------
    ConfigError
    """
    for name in ("weights", "freeze", "taps"):
        if getattr(config, name) != "auto":
            raise ConfigError(
                f"--model auto chooses network, weights and stages: omit --{name}, or name the --model that it is for."
            )


def choose_network(config: TrainConfig, images: ImageDataset, context: Context) -> TrainConfig:
    """Return the settings with the network, weights and taps that suit the training images; see `rank_networks`.

    Raises
    ------
    ConfigError, DataError
    """
    ranked = rank_networks(images, candidates(context), context, image_size=config.image_size)
    chosen = best_value(ranked)
    others = [f"{one.model} {one.accuracy:.3f}" for one in ranked if one != chosen]
    log.info(
        "model: %s, cross-validated accuracy %.3f on %s training images (others: %s; --model NAME chooses)",
        chosen.model,
        chosen.accuracy,
        f"{min(IMAGES, len(images)):,}",
        ", ".join(others) or "none",
    )
    return config.model_copy(update={"model": chosen.model, "weights": chosen.weights, "taps": chosen.taps})


def _rank(name: str, sample: ImageDataset, context: Context, image_size: int | None) -> list[RankedNetwork]:
    """Return the network with its usual stages, or with its last and with several where it has no usual ones."""
    weights = local_weights(name, context)
    if weights is None:
        raise ConfigError(
            f"{name}: its pre-trained weights are not on this machine; see `frostline models show {name}`."
        )
    shape = find_network(name).outline()
    size = image_size or shape.usual_image_size(sample.side)
    taps = shape.usual_taps or _spread(shape)
    backbone = load_backbone(name, weights, cache_dir=context.cache, progress=context.progress)
    forward = FastForward(
        Frozen(backbone, make_boundary(backbone, shape.feature_stage, taps)),
        preprocess_for(backbone.intake, size, sample.levels),
        context.device,
    )
    key = feature_key(name, forward.frozen, forward.preprocess, "float16")
    log.info("trying %s with %s images at %d px", name, f"{len(sample):,}", size)
    (features,), _ = fill(
        [sample], forward, key, context.cache, progress=context.progress, workers=cores(), engine=context.engine
    )
    rows = features.take(np.arange(len(sample))).flatten(1)
    operations = _operations(forward)
    choices = {taps: rows}
    if taps and not shape.usual_taps:
        choices[()] = rows[:, -forward.frozen.widths(size)[shape.feature_stage] :]
    ranked = []
    for chosen, columns in choices.items():
        correct = cross_validated(columns, sample.labels, sample.groups)
        accuracy = float(correct.mean())
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(correct)))
        ranked.append(RankedNetwork(name, weights, chosen, size, accuracy, error, operations))
    return ranked


def _spread(shape: Backbone) -> tuple[str, ...]:
    """Return some stages up to the one that heads are usually put on; none for a network of few stages."""
    names = shape.stage_names[: shape.position(shape.feature_stage) + 1]
    return tuple(names[-back] for back in sorted(SPREAD, reverse=True)) if len(names) > max(SPREAD) else ()


def _operations(forward: FastForward) -> float:
    """Return the multiply-accumulates of the frozen stages for one color image."""
    side = forward.preprocess.image_size
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward.frozen(torch.zeros(1, 3, side, side, device=forward.device))
    return float(counter.get_total_flops()) / 2


def cross_validated(
    rows: torch.Tensor, labels: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Return which rows (N, F) a closed-form head classifies correctly that was fitted without their fold.

    Of three L2 strengths the one with the most correct rows counts.
    """
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_predict

    reduced = _rotated(rows)
    members = np.bincount(labels).max() if groups is None else len(np.unique(groups))
    folds = int(min(FOLDS, members))
    if folds < 2:
        return np.zeros(len(labels), bool)
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(folds, shuffle=True, random_state=SEED)
    scale = float(np.square(reduced).sum(1).mean())
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes with fewer members than folds
        for strength in STRENGTHS:
            head = RidgeClassifier(strength * scale)
            found.append(cross_val_predict(head, reduced, labels, groups=groups, cv=splitter) == labels)
    return max(found, key=np.sum)


def _rotated(rows: torch.Tensor) -> NDArray[np.float64]:
    """Return standardized rows (N, F) in the at most N dimensions that they span: a head on them is the same."""
    rows = rows.double()
    rows = (rows - rows.mean(0)) / rows.std(0, correction=0).clamp_min(1e-6)
    if rows.shape[0] >= rows.shape[1]:
        return rows.numpy()
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    reduced: NDArray[np.float64] = (vectors * values.clamp_min(0).sqrt()).numpy()
    return reduced
