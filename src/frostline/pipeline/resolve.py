"""Resolve what settings leave open from the data: images, image size, network, boundary, head and how it is trained."""

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from frostline._utils.device import cores, pick_device
from frostline._utils.progress import log
from frostline.config import TrainConfig
from frostline.data.augment import make_augment
from frostline.data.check import Overlap, overlaps
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.drawn_objects import PRIOR_IMAGES, PRIOR_OBJECTS
from frostline.data.levels import Levels
from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from frostline.data.registry import check_data, load_configured
from frostline.data.splits import limited, per_class, train_val
from frostline.errors import ConfigError, RunError
from frostline.features.forward import FastForward
from frostline.models.backbone import GIVEN, Backbone, WeightsOrigin, channels_last, check_image_size
from frostline.models.batch_norm import plain_convolutions
from frostline.models.boundary import NONE, Boundary, Frozen, make_boundary, row_stages
from frostline.models.registry import check_digest, load_backbone, outline, weights_digest
from frostline.models.stages import output_shape
from frostline.pipeline.context import Context, FeatureSettings, feature_settings
from frostline.pipeline.phases import PhasePlan, plan_phases, trains_head_first, with_defaults


@dataclass(frozen=True)
class RunSplits:
    """The images of a run: trained on, choosing settings, and measuring the result.

    ``test`` has no images where none are to be held out (``--test-fraction 0``).
    """

    train: ImageDataset
    val: ImageDataset
    test: ImageDataset

    @property
    def by_name(self) -> dict[str, ImageDataset]:
        """The splits as ``metrics.json`` calls them."""
        return {"train": self.train, "val": self.val, "test": self.test}

    @cached_property
    def overlaps(self) -> dict[str, Overlap]:
        """The images that every two splits share; see `frostline.data.check`."""
        return overlaps(self.by_name)


def split(splits: Splits, config: TrainConfig) -> RunSplits:
    """Draw the images of a run: limited, validation out of train unless the data set has its own, few labels."""
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
                f"no validation split can be drawn from {len(train_set):,} images: give it more, or more --limit."
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


SMALL_SIDE = 64  # images up to this side get SMALL_IMAGE_SIZE
SMALL_IMAGE_SIZE = 128  # best for its time on 28x28 images: bench/choices.py
COMPILERS = ("g++", "clang++", "c++")  # what torch.compile looks for


@dataclass(frozen=True)
class HeadSettings:
    """A head before its input is known; ``prior`` says whether a covariance prior is used, ``seed`` draws weights."""

    kind: str
    hidden_width: int
    dropout: float
    prior: bool
    seed: int


@dataclass(frozen=True)
class ResolvedNetwork:
    """A backbone, where it is cut and how images come in, with settings that leave nothing open."""

    config: TrainConfig
    backbone: Backbone
    boundary: Boundary
    preprocess: Preprocess

    @cached_property
    def feature_settings(self) -> FeatureSettings:
        """How its features are computed and cached."""
        return feature_settings(self.config)

    @cached_property
    def head(self) -> HeadSettings:
        """The head to train on it."""
        config, prior = self.config, self.config.head == "ridge" and self.config.prior != "none"
        return HeadSettings(config.head, config.hidden_width, config.dropout, prior, config.seed)

    def forward(self, context: Context, boundary: Boundary | None = None) -> FastForward:
        """Return the frozen stages, up to another boundary if one is given."""
        frozen = Frozen(self.backbone, boundary or self.boundary)
        return FastForward(frozen, self.preprocess, context.device)


@dataclass(frozen=True)
class Plan:
    """Everything that a training does, decided before it begins.

    Attributes
    ----------
    network : ResolvedNetwork
    splits : RunSplits
        The images.
    """

    network: ResolvedNetwork
    splits: RunSplits

    @property
    def config(self) -> TrainConfig:
        """The settings, nothing left open."""
        return self.network.config

    @property
    def head(self) -> HeadSettings:
        """The head to train."""
        return self.network.head

    @cached_property
    def phases(self) -> list[PhasePlan]:
        """The phases of the training, in their order."""
        return plan_phases(self.config, self.network.backbone, self.network.boundary)


def check(config: TrainConfig, given: Backbone | None = None, splits: Splits | None = None) -> None:
    """Refuse a data set that is not there, and impossible names and sizes, before anything is made or read.

    Parameters
    ----------
    config : TrainConfig
    given : Backbone, optional
        The network itself; ``config.model`` names it when left out.
    splits : Splits, optional
        The data set itself; ``config.data`` names it when left out.

    Raises
    ------
    ConfigError, DataError
    """
    if splits is None:
        check_data(config.data)
    check_network(config, given)


def check_network(config: TrainConfig, given: Backbone | None = None) -> None:
    """Refuse impossible names and sizes before anything is made or read.

    Parameters
    ----------
    config : TrainConfig
    given : Backbone, optional
        The network itself; ``config.model`` names it when left out.
    """
    config, shape, boundary = _with_boundary(config, given)
    if config.head == "ridge" and boundary.end != boundary.freeze:
        raise ConfigError(
            "--head ridge is solved, not trained: it cannot train thawed stages; "
            f"freeze {shape.feature_stage} or above, or choose another --head."
        )
    if (config.head_epochs or config.head_lr) and not trains_head_first(config, boundary):
        raise ConfigError(
            "--head-epochs and --head-lr are for a head that is trained before stages are thawed: "
            "--freeze a stage below, with --schedule head-first or gradual; else use --epochs and --lr."
        )
    if config.batch_norm and not _normalizable(shape, boundary):
        raise ConfigError(
            f"--batch-norm is for thawed convolutions that nothing normalizes yet, and with --freeze {config.freeze} "
            f"{config.model} has none: freeze less, or leave it out."
        )
    if config.compile and pick_device(config.device).type == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError(f"--compile needs a C++ compiler ({' or '.join(COMPILERS)}): install one, or leave it out.")
    if config.image_size is not None:
        check_image_size(shape, config.image_size)
    make_augment(config.augment)
    if config.augment and config.freeze != NONE and config.views in (None, 1):
        raise ConfigError("--augment says how views may differ from the image: ask for some with --views V.")
    if config.cutmix and (row_stages(shape, boundary) or _rank(shape, boundary) != 3):
        raise ConfigError(
            "--cutmix cuts maps, and the rows kept here are none: --freeze none or --taps none gives maps."
        )


def _normalizable(shape: Backbone, boundary: Boundary) -> bool:
    if boundary.end == boundary.freeze:
        return False
    after = None if boundary.freeze == NONE else boundary.freeze
    return any(plain_convolutions(shape.between(after, boundary.end)))


def resolve(config: TrainConfig, context: Context, splits: Splits | None = None, given: Backbone | None = None) -> Plan:
    """Load the images, draw the splits of a run, and resolve the network for them.

    Parameters
    ----------
    config : TrainConfig
        Checked by `check`.
    context : Context
    splits : Splits, optional
        The data set itself; ``config.data`` names it when left out.
    given : Backbone, optional
        In place of a network with a name; it is copied: the caller's stays as it is.

    Raises
    ------
    ConfigError, DataError, WeightsError, DownloadError
    """
    _, drawn = resolve_images(config, context, splits)
    return Plan(resolve_network(config, drawn.train, context, given), drawn)


def load_images(config: TrainConfig, context: Context) -> Splits:
    """Load the data set that settings name.

    Raises
    ------
    ConfigError, DataError
    """
    return load_configured(config, context.cache, context.progress)


def resolve_images(config: TrainConfig, context: Context, splits: Splits | None = None) -> tuple[Splits, RunSplits]:
    """Return the data set and the splits that a run draws from it.

    Raises
    ------
    ConfigError, DataError
    """
    data = splits or load_images(config, context)
    log.info("data: %s from %s, %d classes", data.name, data.source, len(data.train.class_names))
    return data, split(data, config)


def resolve_network(
    config: TrainConfig,
    images: ImageDataset,
    context: Context,
    given: Backbone | None = None,
    load: Callable[..., Backbone] = load_backbone,
) -> ResolvedNetwork:
    """Resolve from the training images what settings leave open, and load the network as deep as it is needed.

    Parameters
    ----------
    images : ImageDataset
        What is trained on.
    given : Backbone, optional
        In place of a network with a name; it is copied: the caller's stays as it is.
    load : callable
        In place of `load_backbone`, for one who loads often.

    Raises
    ------
    ConfigError, WeightsError, DownloadError
    """
    config, shape, boundary = _with_boundary(config, given)
    size = config.image_size or _default_image_size(images, shape)
    check_image_size(shape, size)
    if given:
        backbone = _copied(given, boundary.end)
    else:
        where = {"cache_dir": context.cache, "progress": context.progress}
        backbone = load(config.model, config.weights, last=boundary.end, seed=config.seed, **where)
    chosen: dict[str, Any] = {
        "model": backbone.name,
        "taps": boundary.taps,
        "image_size": size,
        "workers": config.workers or cores(),
    }
    chosen |= _weights_of(config, backbone)
    settled = with_defaults(config.model_copy(update=chosen), boundary, len(images))
    _log_head(config, settled, len(images))
    return ResolvedNetwork(settled, backbone, boundary, _preprocess(backbone, size, images.levels))


def _weights_of(config: TrainConfig, backbone: Backbone) -> dict[str, Any]:
    """Return the settings that name the weights; they must be those of ``weights_sha256``, if that was given."""
    origin = backbone.origin
    if origin is None:
        raise RunError("the network was loaded without saying where its weights came from.")
    log.info("weights: %s (SHA-256 %s…)", origin.reason, origin.sha256[:12])
    check_digest(origin, config.weights_sha256)
    # Random numbers may differ in the last bit between processors, so their digest binds no later run.
    return {"weights": origin.name, "weights_sha256": None if origin.name == "random" else origin.sha256}


def _log_head(asked: TrainConfig, settled: TrainConfig, images: int) -> None:
    if settled.head != "ridge":
        return
    if asked.head == "auto":
        log.info("head: %s, for %s training images (--head chooses another)", settled.head, f"{images:,}")
    if settled.prior == "drawn":
        log.info(
            "prior: how features vary within objects, from %s drawn images, passed once (--prior none does without)",
            f"{PRIOR_OBJECTS * PRIOR_IMAGES:,}",
        )


def _with_boundary(config: TrainConfig, given: Backbone | None) -> tuple[TrainConfig, Backbone, Boundary]:
    """Return the settings with ``freeze`` resolved, the network without values, and its boundary.

    By default the head reads the network's usual taps, unless it is cut above its usual stage: the stages there give
    vectors, not maps.
    """
    shape = given.outline() if given else outline(config.model)
    config = with_freeze(config, shape)
    above = shape.stage_names[shape.position(shape.feature_stage) + 1 :]
    taps = () if config.freeze in above else shape.usual_taps
    return config, shape, make_boundary(shape, config.freeze, taps if config.taps == "auto" else config.taps)


def with_freeze(config: TrainConfig, shape: Backbone) -> TrainConfig:
    """Return the settings with ``freeze`` resolved: by default the stage that heads usually read."""
    return config.model_copy(update={"freeze": shape.feature_stage}) if config.freeze == "auto" else config


def _copied(given: Backbone, last: str) -> Backbone:
    """Return a copy that training may change, with its weights' digest."""
    backbone = channels_last(copy.deepcopy(given).upto(last).requires_grad_(True))
    backbone.origin = WeightsOrigin(GIVEN, weights_digest(backbone), "those of the network that was given")
    return backbone


def _preprocess(backbone: Backbone, size: int, levels: Levels | None) -> Preprocess:
    intake = backbone.intake
    return Preprocess(size, intake.mean or IMAGENET_MEAN, intake.std or IMAGENET_STD, intake.interpolation, levels)


def _rank(shape: Backbone, boundary: Boundary) -> int:
    """Return how many dimensions a row has as the boundary gives it: 3 for maps and pixels."""
    below = [] if boundary.freeze == NONE else list(shape.between(None, boundary.freeze))
    return len(output_shape(below, shape.intake.image_size))


def _default_image_size(images: ImageDataset, shape: Backbone) -> int:
    """Return the network's own size, or a smaller one for small images."""
    own, small = shape.intake.image_size, images.side is not None and images.side <= SMALL_SIDE
    if shape.intake.fixed or not small:
        return own
    return min(own, max(SMALL_IMAGE_SIZE, shape.min_image_size))
