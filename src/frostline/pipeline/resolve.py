"""Resolve unset options from the data: splits, image size, network, boundary, head and its training."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from frostline._utils.device import pick_device
from frostline._utils.machine import cores
from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.data.augment import make_augment
from frostline.data.check import IMBALANCE, Overlap, overlaps
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.drawn_objects import PRIOR_IMAGES, PRIOR_OBJECTS
from frostline.data.preprocess import Preprocess
from frostline.data.registry import check_data, load_configured
from frostline.data.splits import limited, per_class, train_val
from frostline.errors import ConfigError, RunError
from frostline.features.compile import check_engine
from frostline.features.forward import FastForward
from frostline.models.backbone import GIVEN, Backbone, WeightsOrigin, channels_last, check_image_size
from frostline.models.batch_norm import plain_convolutions
from frostline.models.boundary import NONE, Boundary, Frozen, make_boundary, row_stages
from frostline.models.registry import check_digest, load_backbone, outline, weights_digest
from frostline.models.stages import output_shape
from frostline.pipeline.context import Context, FeatureSettings, feature_settings
from frostline.pipeline.phases import PhasePlan, plan_phases, trains_head_first, with_defaults
from frostline.pipeline.rank import ALWAYS_HERE, AUTO, choose_network, with_model


@dataclass(frozen=True)
class RunSplits:
    """The images of a run; ``test`` is empty with ``--test-fraction 0``."""

    train: ImageDataset
    val: ImageDataset
    test: ImageDataset

    @property
    def by_name(self) -> dict[str, ImageDataset]:
        """The splits by their names in ``metrics.json``."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @cached_property
    def overlaps(self) -> dict[str, Overlap]:
        """The images that each pair of splits shares."""
        return overlaps(self.by_name)


def split(splits: Splits, config: TrainConfig) -> RunSplits:
    """Draw the splits of a run: apply limits, and hold out a validation split unless the data set has its own."""
    train_set, val_set, test_set = splits.train, splits.val, splits.test
    if config.limit is not None:
        few = max(config.limit // 6, 1)
        train_set = train_set.subset(limited(train_set.labels, config.limit, config.seed))
        test_set = test_set.subset(limited(test_set.labels, few, config.seed))
        val_set = val_set and val_set.subset(limited(val_set.labels, few, config.seed))
    if val_set is None:
        chosen, held_out = train_val(train_set.labels, config.val_fraction, config.seed, train_set.groups)
        val_set, train_set = train_set.subset(held_out), train_set.subset(chosen)
        if not len(val_set):
            raise ConfigError(
                f"cannot draw a validation split from {len(train_set):,} images: add images, or raise --limit."
            )
    if config.labels_per_class is not None:
        train_set = train_set.subset(per_class(train_set.labels, config.labels_per_class, config.seed))
        log.info(
            "training on %d labeled images per class; the validation split's %s labels choose the %s",
            config.labels_per_class,
            f"{len(val_set):,}",
            {"ridge": "strength", "auto": "strength or the epoch"}.get(config.head, "epoch"),
        )
    return RunSplits(train_set, val_set, test_set)


COMPILERS = ("g++", "clang++", "c++")  # what torch.compile looks for


@dataclass(frozen=True)
class HeadSettings:
    """A head before its input width is known; ``prior`` switches the covariance prior on, ``seed`` draws weights."""

    kind: str
    hidden_width: int
    dropout: float
    prior: bool
    seed: int


@dataclass(frozen=True)
class ResolvedNetwork:
    """A backbone, its freeze boundary and preprocessing, and the complete settings.

    ``compared`` says whether it was chosen among networks by the training images.
    """

    config: TrainConfig
    backbone: Backbone
    boundary: Boundary
    preprocess: Preprocess
    compared: bool = False

    @cached_property
    def feature_settings(self) -> FeatureSettings:
        """How features are computed and cached."""
        return feature_settings(self.config)

    @cached_property
    def head(self) -> HeadSettings:
        """The head to train."""
        config, prior = self.config, self.config.head == "ridge" and self.config.prior != "none"
        return HeadSettings(config.head, config.hidden_width, config.dropout, prior, config.seed)

    def forward(self, context: Context, boundary: Boundary | None = None) -> FastForward:
        """Return the frozen stages up to ``boundary``, by default the network's own."""
        frozen = Frozen(self.backbone, boundary or self.boundary)
        return FastForward(frozen, self.preprocess, context.device)


@dataclass(frozen=True)
class Plan:
    """Everything that determines a training, resolved before it begins."""

    network: ResolvedNetwork
    splits: RunSplits

    @property
    def config(self) -> TrainConfig:
        """The complete settings."""
        return self.network.config

    @property
    def head(self) -> HeadSettings:
        """The head to train."""
        return self.network.head

    @cached_property
    def phases(self) -> list[PhasePlan]:
        """The phases of the training, in order."""
        return plan_phases(self.config, self.network.backbone, self.network.boundary)


def check(config: TrainConfig, network: Backbone | None = None, splits: Splits | None = None) -> None:
    """Reject a missing data set and impossible settings before anything is read or written.

    Parameters
    ----------
    config : TrainConfig
    network : Backbone, optional
        Used instead of ``config.model``.
    splits : Splits, optional
        Used instead of ``config.data``.

    Raises
    ------
    ConfigError, DataError
    """
    if splits is None:
        check_data(config.data)
    check_network(config, network)


def check_network(config: TrainConfig, network: Backbone | None = None) -> None:
    """Reject settings that are impossible for ``network``, by default that of ``config.model``.

    Raises
    ------
    ConfigError
    """
    config = config if network else with_model(config)
    if config.model == AUTO:
        config = config.model_copy(update={"model": ALWAYS_HERE})
    config, shape, boundary = _with_boundary(config, network)
    if config.head == "ridge" and boundary.end != boundary.freeze:
        raise ConfigError(
            "--head ridge is fitted in closed form and cannot train thawed stages: "
            f"--freeze {shape.feature_stage} or above, or choose another --head."
        )
    if (config.head_epochs or config.head_lr) and not trains_head_first(config, boundary):
        raise ConfigError(
            "--head-epochs and --head-lr apply to a head that is trained before stages are thawed: "
            "--freeze an earlier stage with --schedule head-first or gradual, or use --epochs and --lr."
        )
    if config.batch_norm and not _normalizable(shape, boundary):
        raise ConfigError(
            f"--batch-norm applies to thawed convolutions without normalization, and with --freeze {config.freeze} "
            f"{config.model} has none: freeze fewer stages, or omit it."
        )
    if config.compile and pick_device(config.device).type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError(f"--compile needs a C++ compiler ({' or '.join(COMPILERS)}): install one, or omit it.")
    check_engine(config.engine, pick_device(config.device))
    if config.image_size is not None:
        check_image_size(shape, config.image_size)
    make_augment(config.augment)
    if config.augment and config.freeze != NONE and config.views in (None, 1):
        raise ConfigError("--augment needs views to apply to: add --views V with V of 2 or more.")
    if config.cutmix and (row_stages(shape, boundary) or _rank(shape, boundary) != 3):
        raise ConfigError("--cutmix needs feature maps: use --freeze none or --taps none.")


def _normalizable(shape: Backbone, boundary: Boundary) -> bool:
    if boundary.end == boundary.freeze:
        return False
    after = None if boundary.freeze == NONE else boundary.freeze
    return any(plain_convolutions(shape.between(after, boundary.end)))


def resolve(
    config: TrainConfig, context: Context, splits: Splits | None = None, network: Backbone | None = None
) -> Plan:
    """Load the images, draw the splits of a run, and resolve the network for them.

    Parameters
    ----------
    config : TrainConfig
        Checked by `check`.
    context : Context
    splits : Splits, optional
        Used instead of ``config.data``.
    network : Backbone, optional
        Used instead of ``config.model``; it is copied.

    Raises
    ------
    ConfigError, DataError, WeightsError, DownloadError
    """
    _, drawn = resolve_images(config, context, splits)
    return Plan(resolve_network(config, drawn.train, context, network), drawn)


def resolve_images(config: TrainConfig, context: Context, splits: Splits | None = None) -> tuple[Splits, RunSplits]:
    """Return the data set and the splits that a run draws from it.

    Raises
    ------
    ConfigError, DataError
    """
    data = splits or load_configured(config, context.cache, context.progress, keep=True)
    log.info("data: %s from %s, %d classes", data.name, data.source, len(data.train.class_names))
    return data, split(data, config)


def resolve_network(
    config: TrainConfig,
    images: ImageDataset,
    context: Context,
    network: Backbone | None = None,
    load: Callable[..., Backbone] = load_backbone,
) -> ResolvedNetwork:
    """Resolve unset options from the training images, and load the stages that are needed.

    Parameters
    ----------
    images : ImageDataset
        The training images.
    network : Backbone, optional
        Used instead of ``config.model``; it is copied.
    load : callable
        Replaces `load_backbone`, for example to cache networks.

    Raises
    ------
    ConfigError, WeightsError, DownloadError
    """
    compared = network is None and with_model(config).model == AUTO
    config = config if network else choose_network(config, images, context)
    config, shape, boundary = _with_boundary(config, network)
    size = config.image_size or shape.usual_image_size(images.side)
    check_image_size(shape, size)
    if network:
        backbone = _trainable_copy(network, boundary.end)
    else:
        backbone = load(
            config.model,
            config.weights,
            last=boundary.end,
            seed=config.seed,
            cache_dir=context.cache,
            progress=context.progress,
        )
    resolved = {
        "model": backbone.name,
        "taps": boundary.taps,
        "image_size": size,
        "workers": config.workers or cores(),
        **_weights_settings(config, backbone.origin),
    }
    complete = with_defaults(config.model_copy(update=resolved), boundary, len(images))
    if complete.head == "ridge":
        _log_ridge(len(images), chosen=config.head == "auto", prior=complete.prior == "drawn")
    if complete.class_weights == "none":
        _log_imbalance(images)
    fit = "crop" if images.is_square else config.fit
    preprocess = Preprocess(size, *backbone.intake.normalization, images.levels, fit)
    return ResolvedNetwork(complete, backbone, boundary, preprocess, compared)


def _log_imbalance(images: ImageDataset) -> None:
    counts = np.bincount(images.labels, minlength=len(images.class_names))
    most, least = int(counts.argmax()), int(np.where(counts > 0, counts, counts.max()).argmin())
    if counts[most] > IMBALANCE * counts[least]:
        log.info(
            "unbalanced classes: %s training images of '%s', %s of '%s' (--class-weights balanced weighs them alike)",
            f"{counts[most]:,}",
            images.class_names[most],
            f"{counts[least]:,}",
            images.class_names[least],
        )


def _weights_settings(config: TrainConfig, origin: WeightsOrigin | None) -> dict[str, Any]:
    """Return the settings that identify the weights, after comparing them with ``weights_sha256`` if that is set."""
    if origin is None:
        raise RunError("the origin of the network's weights is unknown.")
    log.info("weights: %s (SHA-256 %s…)", origin.reason, origin.sha256[:12])
    check_digest(origin, config.weights_sha256)
    # Random numbers may differ in the last bit between processors: their digest is not compared on a later run.
    return {"weights": origin.name, "weights_sha256": None if origin.name == "random" else origin.sha256}


def _log_ridge(images: int, *, chosen: bool, prior: bool) -> None:
    if chosen:
        log.debug("head: ridge, for %s training images (--head chooses another)", f"{images:,}")
    if prior:
        log.info(
            "prior: covariance of features within objects, from %s drawn images (disable with --prior none)",
            f"{PRIOR_OBJECTS * PRIOR_IMAGES:,}",
        )


def _with_boundary(config: TrainConfig, network: Backbone | None) -> tuple[TrainConfig, Backbone, Boundary]:
    """Return the settings with ``freeze`` resolved, the network without values, and its boundary.

    By default the head reads the network's usual taps, unless the boundary is above its usual stage: the stages there
    return vectors, not maps.
    """
    shape = network.outline() if network else outline(config.model)
    config = with_freeze(config, shape)
    above = shape.stage_names[shape.position(shape.feature_stage) + 1 :]
    taps = () if config.freeze in above else shape.usual_taps
    return config, shape, make_boundary(shape, config.freeze, taps if config.taps == "auto" else config.taps)


def with_freeze(config: TrainConfig, shape: Backbone) -> TrainConfig:
    """Return the settings with ``freeze`` resolved: by default the network's feature stage."""
    return config.model_copy(update={"freeze": shape.feature_stage}) if config.freeze == "auto" else config


def _trainable_copy(network: Backbone, last: str) -> Backbone:
    """Return a copy up to stage ``last``, with the digest of its weights."""
    backbone = channels_last(copy.deepcopy(network).upto(last).requires_grad_(True))
    backbone.origin = WeightsOrigin(GIVEN, weights_digest(backbone), "those of the network passed as backbone")
    return backbone


def _rank(shape: Backbone, boundary: Boundary) -> int:
    """Return the number of dimensions of the boundary's output: 3 for maps and pixels."""
    below = [] if boundary.freeze == NONE else list(shape.between(None, boundary.freeze))
    return len(output_shape(below, shape.intake.image_size))
