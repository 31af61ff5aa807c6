"""Rank networks by what their frozen features tell about a data set's classes, on training images alone."""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from frostline._utils.files import read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.machine import cores
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT, write_bytes, write_json
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.data.preprocess import Preprocess
from frostline.data.registry import SOURCES
from frostline.data.splits import limited
from frostline.errors import ConfigError, FrostlineError, StorageError
from frostline.features.extract import fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from frostline.models.alexnet import NAME as ALEXNET
from frostline.models.backbone import Backbone, describe
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.external import cached_timm_networks
from frostline.models.registry import NETWORKS, find_network, load_backbone, outline
from frostline.pipeline.context import Context
from frostline.training.cross_validation import ridge_out_of_fold

AUTO = "auto"
ALWAYS_HERE = "efficientnet-lite0"  # installed with Frostline: stands for the others while settings are checked
# Networks are compared on a share of the training images, so that most of a run's time goes into the one that is taken.
SHARE, MIN_IMAGES, PER_CLASS, MAX_IMAGES = 0.03, 200, 10, 1_000
MAX_OPERATIONS = 2_000_000_000  # multiply-accumulates of further networks: a ResNet-18 takes 1.8 billion at 224 px
VERSION = 1  # of the comparison: another one compares remembered data sets again
MAX_RECORD_BYTES = 1 << 20
SEED = 0  # of the sample: the choice is the same for every seed of a run
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
    operations : int
        Multiply-accumulates for an image: what the network costs, on any machine.
    """

    model: str
    weights: str
    taps: tuple[str, ...]
    image_size: int
    accuracy: float
    standard_error: float
    operations: int

    @property
    def stages(self) -> str:
        """The stages that the head reads, as a table names them."""
        return ", ".join(self.taps) or "last stage"


RANKING = TypeAdapter(list[RankedNetwork])


def candidates(context: Context) -> list[str]:
    """Return the networks whose pre-trained weights are on this machine: none is downloaded to be tried.

    timm's networks in the hub's cache count if they are small and can be cut into stages.
    """
    known = [name for name in NETWORKS if local_weights(name, context) is not None]
    return known + [name for name in cached_timm_networks() if _is_usable(name, context)]


def _is_usable(name: str, context: Context) -> bool:
    try:
        shape = outline(name)
        small = _operations(shape, shape.intake.image_size) <= MAX_OPERATIONS
        return small and local_weights(name, context) is not None
    except FrostlineError as error:  # another network of that cache is no reason to fail
        log.debug("%s is not compared: %s", name, error)
        return False


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
    count: int = MAX_IMAGES,
    image_size: int | None = None,
    fit: str = "pad",
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
    fit : str
        How images become square, as in `Preprocess`.

    Raises
    ------
    ConfigError
        When the weights of a network are not on this machine.
    DataError
    """
    weights = {name: local_weights(name, context) for name in names}
    for name, found in weights.items():
        if found is None:
            raise ConfigError(
                f"{name}: its pre-trained weights are not on this machine; see `frostline models show {name}`."
            )
    sample = images.subset(limited(images.labels, count, SEED))
    ranked = []
    for name, found in weights.items():
        backbone = load_backbone(name, str(found), cache_dir=context.cache, progress=context.progress)
        size = image_size or backbone.usual_image_size(sample.side)
        preprocess = Preprocess(
            size, *backbone.intake.normalization, sample.levels, "crop" if sample.is_square else fit
        )
        ranked += _rank(backbone, str(found), preprocess, sample, context)
    return sorted(ranked, key=lambda one: (-one.accuracy, one.operations, one.taps))


def best_value(ranked: Sequence[RankedNetwork]) -> RankedNetwork:
    """Return the cheapest network within one standard error of the most accurate one (Breiman et al. 1984)."""
    best = max(ranked, key=lambda one: one.accuracy)
    close = [one for one in ranked if one.accuracy >= best.accuracy - best.standard_error]
    return min(close, key=lambda one: (one.operations, -one.accuracy))


def draw_ranking(ranked: Sequence[RankedNetwork], title: str, path: Path) -> None:
    """Plot accuracy, with its standard error, against multiply-accumulates as a PNG, with the choice marked."""
    from matplotlib.figure import Figure

    chosen = best_value(ranked)
    figure = Figure(figsize=(7.5, 1.2 + 0.42 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    for row, one in enumerate(reversed(ranked)):
        color = "#c2410c" if one == chosen else "#0b6fa4"
        axes.errorbar(one.accuracy, row, xerr=one.standard_error, fmt="o", color=color, capsize=3)
    labels = [f"{one.model}, {one.stages}\n{one.operations / 1e6:,.0f} M operations" for one in ranked]
    labels[ranked.index(chosen)] += " (--model auto)"
    axes.set_yticks(range(len(ranked)), labels[::-1], fontsize=8)
    axes.set(xlabel="cross-validated accuracy ± standard error", title=title, ylim=(-0.6, len(ranked) - 0.4))
    axes.grid(alpha=0.25, axis="x")
    axes.get_yticklabels()[len(ranked) - 1 - ranked.index(chosen)].set_color("#c2410c")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT)


def sample_size(images: ImageDataset) -> int:
    """Return how many of the training images networks are compared on, at most."""
    enough = max(MIN_IMAGES, PER_CLASS * len(images.class_names), round(SHARE * len(images)))
    return min(enough, MAX_IMAGES)


def with_model(config: TrainConfig) -> TrainConfig:
    """Return the settings with ``model`` resolved, or still ``auto`` where the images are to choose it.

    AlexNet is the lesson that the named data sets are for, and the network whose weights and stages settings name that
    name no network.
    """
    named = any(getattr(config, name) != AUTO for name in ("weights", "freeze", "taps"))
    if config.model == AUTO and (named or config.data in SOURCES):
        return config.model_copy(update={"model": ALEXNET})
    return config


def choose_network(config: TrainConfig, images: ImageDataset, context: Context) -> TrainConfig:
    """Return the settings with ``model`` resolved, if need be by the training images, then with weights and taps.

    Raises
    ------
    ConfigError, DataError
    """
    config = with_model(config)
    if config.model != AUTO:
        return config
    sample = images.subset(limited(images.labels, sample_size(images), SEED))
    names = candidates(context)
    key = {"image_size": config.image_size, "fit": config.fit, **_identity(sample, names, context)}
    file = context.cache / "rankings" / f"{digest_json(key)}.json"
    ranked = read_ranking(file)
    if ranked is None:
        log.info("comparing %d networks on %s training images", len(names), f"{len(sample):,}")
        ranked = rank_networks(sample, names, context, image_size=config.image_size, fit=config.fit)
        _remember(file, ranked)
    chosen = best_value(ranked)
    best = {one.model: one for one in reversed(ranked) if one.model != chosen.model}
    log.info(
        "model: %s, cross-validated accuracy %.3f on %s training images (others: %s; --model NAME chooses)",
        chosen.model,
        chosen.accuracy,
        f"{len(sample):,}",
        ", ".join(f"{name} {one.accuracy:.3f}" for name, one in reversed(best.items())) or "none",
    )
    return config.model_copy(update={"model": chosen.model, "weights": chosen.weights, "taps": chosen.taps})


def _identity(sample: ImageDataset, names: Sequence[str], context: Context) -> dict[str, Any]:
    """Return what identifies networks and images for the file that remembers their comparison."""
    published = {name: find_network(name).offer.published for name in names}
    return {
        "version": VERSION,
        "networks": {name: str(file and file.find(context.cache)) for name, file in published.items()},
        "rows": [row_id.hex() for row_id in sample.row_ids],
        "labels": sample.labels.tolist(),
        "groups": None if sample.groups is None else np.unique(sample.groups, return_inverse=True)[1].tolist(),
        "levels": sample.levels and sample.levels.to_dict(),
    }


def read_ranking(file: Path) -> list[RankedNetwork] | None:
    """Return a remembered comparison; a damaged one is made again."""
    try:
        ranked = RANKING.validate_json(read_bytes(file, MAX_RECORD_BYTES))
    except (OSError, ValidationError):
        return None
    return ranked or None


def _remember(file: Path, ranked: Sequence[RankedNetwork]) -> None:
    try:
        write_json(file, RANKING.dump_python(list(ranked), mode="json"))
    except StorageError as error:  # a cache that cannot be written: compared again next time
        log.debug("the comparison of networks is not remembered: %s", error)


def _rank(
    backbone: Backbone, weights: str, preprocess: Preprocess, sample: ImageDataset, context: Context
) -> list[RankedNetwork]:
    """Return the network with its usual stages, or with its last and with several where it has no usual ones."""
    taps = backbone.usual_taps or spread_stages(backbone)
    frozen = Frozen(backbone, make_boundary(backbone, backbone.feature_stage, taps))
    forward = FastForward(frozen, preprocess, context.device)
    log.debug("trying %s with %s images at %d px", backbone.name, f"{len(sample):,}", preprocess.image_size)
    (features,), _ = fill(
        [sample],
        forward,
        feature_key(backbone.name, frozen, preprocess, "float16"),
        context.cache,
        progress=context.progress,
        workers=cores(),
        engine=context.engine,
        level=logging.DEBUG,
    )
    rows = features.take(np.arange(len(sample))).flatten(1)
    choices = {taps: rows}
    if taps and not backbone.usual_taps:
        choices[()] = rows[:, -frozen.widths(preprocess.image_size)[backbone.feature_stage] :]
    operations, ranked = _operations(backbone, preprocess.image_size), []
    for chosen, columns in choices.items():
        correct = cross_validated(columns, sample.labels, sample.groups)
        accuracy = float(correct.mean())
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(correct)))
        found = RankedNetwork(backbone.name, weights, chosen, preprocess.image_size, accuracy, error, operations)
        ranked.append(found)
    return ranked


def spread_stages(shape: Backbone) -> tuple[str, ...]:
    """Return some stages up to the one that heads are usually put on; none for a network of few stages."""
    names = shape.stage_names[: shape.position(shape.feature_stage) + 1]
    return tuple(names[-back] for back in sorted(SPREAD, reverse=True)) if len(names) > max(SPREAD) else ()


def _operations(backbone: Backbone, image_size: int) -> int:
    """Return the multiply-accumulates of the stages below a head, for one color image."""
    shape = outline(backbone.name)
    names = shape.stage_names[: shape.position(shape.feature_stage) + 1]
    return sum(facts.multiply_accumulates for facts in describe([(n, shape.stages[n]) for n in names], image_size))


def cross_validated(
    rows: torch.Tensor, labels: NDArray[np.int64], groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Return which rows (N, F) a closed-form head classifies correctly that was fitted without their fold.

    No row counts as correct where there are too few for two folds (`ridge_out_of_fold`).
    """
    scores = ridge_out_of_fold(rows, labels, groups)
    return np.zeros(len(labels), bool) if scores is None else np.asarray(scores.argmax(1) == labels)
