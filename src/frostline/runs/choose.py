"""What a run leaves open is chosen by the data: which images, which size, which taps, which weights."""

import copy
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frostline.config import TrainConfig
from frostline.device import cores
from frostline.errors import ConfigError, RunError
from frostline.images.dataset import ImageDataset, Splits
from frostline.images.drawn.dataset import PRIOR_OBJECTS, PRIOR_PICTURES
from frostline.images.levels import Levels
from frostline.images.overlap import Overlap, overlaps
from frostline.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from frostline.images.splits import limited, per_class, train_val
from frostline.images.views import make_augment
from frostline.networks.backbone import GIVEN, Backbone, WeightsOrigin, channels_last
from frostline.networks.boundary import NONE, Boundary, kept_stages, make_boundary
from frostline.networks.describe import check_image_size
from frostline.networks.normalised import plain_convolutions
from frostline.networks.registry import check_digest, load_backbone, outline, weights_digest
from frostline.networks.trial import output_shape
from frostline.progress import Progress, log

SMALL_SIDE = 64  # images up to this side get SMALL_IMAGE_SIZE
SMALL_IMAGE_SIZE = 128  # best for its time on 28x28 images: bench/choices.py
THAW_LR = {"adamw": 5e-4, "sgd": 1e-2}
# A compromise: short trainings and random weights would like about twice as much (bench/choices.py).
PEAK_LR = {("adamw", "linear"): 6e-4, ("adamw", "mlp"): 3e-4, ("sgd", "linear"): 4e-3, ("sgd", "mlp"): 1e-2}
EPOCHS, MOST_EPOCHS = 12, 100
CLIP_NORM = 1.0  # of thawed stages: rare large gradients would undo what pre-training gave
FEWEST_STEPS = 200  # a head on few images needs more epochs: 12 steps leave it half trained (bench/few_labels.py)
PATIENCE = 5
# Up to so many training images the head in closed form is as good or better, and quicker (bench/few_labels.py).
CLOSED_FORM_IMAGES = 2_000
# Settings of a head that is trained step by step: who gives one wants such a head.
STEPWISE = (
    "epochs", "head_epochs", "batch_size", "optimizer", "momentum", "lr", "head_lr", "lr_schedule", "warm_up",
    "weight_decay", "label_smoothing", "ema", "mixup", "cutmix", "compile", "patience",
)  # fmt: skip
COMPILERS = ("g++", "clang++", "c++")  # what torch.compile looks for


@dataclass(frozen=True)
class Parts:
    """The images of a run: trained on, choosing settings, and measuring the result.

    ``test`` has no images where none are to be held out (``--test-fraction 0``).
    """

    train: ImageDataset
    val: ImageDataset
    test: ImageDataset

    def overlaps(self) -> dict[str, Overlap]:
        """Compare every two splits; see `frostline.images.overlap`."""
        return overlaps({"train": self.train, "val": self.val, "test": self.test})


def check_network(config: TrainConfig, given: Backbone | None = None) -> None:
    """Refuse impossible names and sizes before anything is made or read.

    Parameters
    ----------
    config : TrainConfig
    given : Backbone, optional
        The network itself; ``config.model`` names it when left out.
    """
    shape = given.outline() if given else outline(config.model)
    config = with_freeze(config, shape)
    boundary = make_boundary(shape, config.freeze, _taps(config, shape))
    if config.head == "ridge" and boundary.end != boundary.freeze:
        raise ConfigError(
            "--head ridge is solved, not trained: it cannot train thawed stages; "
            f"freeze {shape.feature_stage} or above, or choose another --head."
        )
    if (config.head_epochs or config.head_lr) and not _head_before(config, boundary):
        raise ConfigError(
            "--head-epochs and --head-lr are for a head that is trained before stages are thawed: "
            "--freeze a stage below, with --schedule head-first or gradual; else use --epochs and --lr."
        )
    if config.batch_norm and not _normalisable(shape, boundary):
        raise ConfigError(
            f"--batch-norm is for thawed convolutions that nothing normalises yet, and with --freeze {config.freeze} "
            f"{config.model} has none: freeze less, or leave it out."
        )
    if config.compile and config.device == "cpu" and not any(map(shutil.which, COMPILERS)):
        raise ConfigError(f"--compile needs a C++ compiler ({' or '.join(COMPILERS)}): install one, or leave it out.")
    if config.image_size is not None:
        check_image_size(shape, config.image_size)
    make_augment(config.augment)
    if config.augment and config.freeze != NONE and config.views in (None, 1):
        raise ConfigError("--augment says how views may differ from the picture: ask for some with --views V.")
    if config.cutmix and (kept_stages(shape, boundary) or _rank(shape, boundary) != 3):
        raise ConfigError(
            "--cutmix cuts maps, and the rows kept here are none: --freeze none or --taps none gives maps."
        )


def _normalisable(shape: Backbone, boundary: Boundary) -> bool:
    if boundary.end == boundary.freeze:
        return False
    after = None if boundary.freeze == NONE else boundary.freeze
    return any(plain_convolutions(shape.between(after, boundary.end)))


def split(splits: Splits, config: TrainConfig) -> Parts:
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
            "training on %d labelled images per class; the validation split's %s labels choose the %s",
            config.labels_per_class,
            f"{len(val_set):,}",
            {"ridge": "strength", "auto": "strength or the epoch"}.get(config.head, "epoch"),
        )
    return Parts(train_set, val_set, test_set)


def prepare(
    config: TrainConfig,
    images: ImageDataset,
    cache: Path,
    progress: Progress | None,
    given: Backbone | None = None,
    load: Callable[..., Backbone] = load_backbone,
) -> tuple[TrainConfig, Backbone, Boundary, Preprocess]:
    """Choose by the data what was left open, and load the network as deep as it is needed.

    Parameters
    ----------
    images : ImageDataset
        What is trained on.
    given : Backbone, optional
        In place of a network with a name; it is copied: the caller's stays as it is.
    load : callable
        In place of `load_backbone`, for one who loads often.

    Returns
    -------
    config, backbone, boundary, preprocess
        The settings with nothing left open, and what follows from them.

    Raises
    ------
    ConfigError, WeightsError, DownloadError
    """
    shape = given.outline() if given else outline(config.model)
    config = with_freeze(config, shape)
    boundary = make_boundary(shape, config.freeze, _taps(config, shape))
    size = _image_size(config, images, shape)
    check_image_size(shape, size)
    if given:
        backbone = _copied(given, boundary.end)
    else:
        backbone = load(
            config.model, config.weights, last=boundary.end, seed=config.seed, cache_dir=cache, progress=progress
        )
    origin = backbone.origin
    if origin is None:
        raise RunError("the network was loaded without saying where its weights came from.")
    log.info("weights: %s (SHA-256 %s…)", origin.reason, origin.sha256[:12])
    check_digest(origin, config.weights_sha256)
    chosen = {
        "model": backbone.name,
        "weights": origin.name,
        # Random numbers may differ in the last bit between processors, so their digest binds no later run.
        "weights_sha256": None if origin.name == "random" else origin.sha256,
        "taps": boundary.taps,
        "image_size": size,
        "workers": config.workers or cores(),
    }
    settled = settle(config.model_copy(update=chosen), boundary, len(images))
    if config.head == "auto" and settled.head == "ridge":
        log.info("head: %s, for %s training images (--head chooses another)", settled.head, f"{len(images):,}")
    if settled.head == "ridge" and settled.prior == "drawn":
        log.info(
            "prior: how features vary within objects, from %s drawn pictures, passed once (--prior none does without)",
            f"{PRIOR_OBJECTS * PRIOR_PICTURES:,}",
        )
    return settled, backbone, boundary, _preprocess(backbone, size, images.levels)


def settle(config: TrainConfig, boundary: Boundary, images: int) -> TrainConfig:
    """Choose the head and how it is trained where that was left open: by the boundary and the number of images."""
    thaws = boundary.end != boundary.freeze
    config = config.model_copy(update={"head": _head(config, images, thaws=thaws)})
    first = _head_before(config, boundary)
    epochs = config.epochs or usual_epochs(images, config.batch_size, head_only=not thaws)
    head_epochs = config.head_epochs or usual_epochs(images, config.batch_size, head_only=True)
    chosen = {
        "lr": None if config.head == "ridge" else peak_lr(config, thaws=thaws),
        "head_epochs": head_epochs if first else None,
        "head_lr": config.head_lr or PEAK_LR[config.optimizer, config.head] if first else None,
        "clip_norm": None if config.head == "ridge" else _clip_norm(config, thaws=thaws),
        # With nothing frozen a view costs nothing beyond its drawing: every epoch gets another one.
        "views": config.views or (epochs if config.freeze == NONE else 1),
        "epochs": None if config.head == "ridge" else epochs,
        # Thawed stages get worse before they get better, and only the end of the schedule shows what they came to.
        "patience": None if config.head == "ridge" else config.patience or (epochs if thaws else _patience(epochs)),
    }
    return config.model_copy(update=chosen)


def _head(config: TrainConfig, images: int, *, thaws: bool) -> str:
    """Return the head asked for; by default a linear one, in closed form where that does better and nothing forbids."""
    fields = TrainConfig.model_fields
    if config.head != "auto":
        return config.head
    if thaws or images > CLOSED_FORM_IMAGES or any(getattr(config, name) != fields[name].default for name in STEPWISE):
        return "linear"
    return "ridge"


def stepwise(config: TrainConfig) -> TrainConfig:
    """Return settings whose head is trained step by step: a linear one where that was left open."""
    return config.model_copy(update={"head": "linear"}) if config.head == "auto" else config


def with_freeze(config: TrainConfig, shape: Backbone) -> TrainConfig:
    """Return settings that name the last frozen stage: the one heads usually go on where it was left open."""
    return config.model_copy(update={"freeze": shape.feature_stage}) if config.freeze == "auto" else config


def _copied(given: Backbone, last: str) -> Backbone:
    """Return a copy that training may change, with its weights' digest."""
    backbone = channels_last(copy.deepcopy(given).upto(last).requires_grad_(True))
    backbone.origin = WeightsOrigin(GIVEN, weights_digest(backbone), "those of the network that was given")
    return backbone


def _preprocess(backbone: Backbone, size: int, levels: Levels | None) -> Preprocess:
    intake = backbone.intake
    return Preprocess(size, intake.mean or IMAGENET_MEAN, intake.std or IMAGENET_STD, intake.interpolation, levels)


def _head_before(config: TrainConfig, boundary: Boundary) -> bool:
    return boundary.end != boundary.freeze and config.schedule != "together"


def _patience(epochs: int) -> int:
    return max(PATIENCE, epochs // 4)


def peak_lr(config: TrainConfig, *, thaws: bool) -> float:
    """Return the learning rate asked for, or the one that suits optimiser and head, or thawed stages."""
    if config.lr is not None:
        return config.lr
    return THAW_LR[config.optimizer] if thaws else PEAK_LR[config.optimizer, config.head]


def _clip_norm(config: TrainConfig, *, thaws: bool) -> float:
    return config.clip_norm if config.clip_norm is not None else CLIP_NORM if thaws else 0.0


def usual_epochs(images: int, batch_size: int, *, head_only: bool) -> int:
    """Return 12, or for a head alone on few images as many as make 200 gradient steps, at most 100."""
    steps = math.ceil(images / batch_size)
    return min(MOST_EPOCHS, max(EPOCHS, math.ceil(FEWEST_STEPS / steps))) if head_only else EPOCHS


def _taps(config: TrainConfig, shape: Backbone) -> tuple[str, ...]:
    """Return the taps asked for; by default the network's usual ones unless it is cut above its usual place."""
    if config.taps != "auto":
        return config.taps
    return () if config.freeze in _above(shape) else shape.usual_taps


def _above(shape: Backbone) -> list[str]:
    """Return the stages above the one that heads are usually put on: they give numbers, not maps."""
    return shape.stage_names[shape.position(shape.feature_stage) + 1 :]


def _rank(shape: Backbone, boundary: Boundary) -> int:
    """Return how many dimensions a row has as the boundary gives it: 3 for maps and pixels."""
    below = [] if boundary.freeze == NONE else list(shape.between(None, boundary.freeze))
    return len(output_shape(below, shape.intake.image_size))


def _image_size(config: TrainConfig, images: ImageDataset, shape: Backbone) -> int:
    if config.image_size is not None:
        return config.image_size
    own, small = shape.intake.image_size, images.side is not None and images.side <= SMALL_SIDE
    if shape.intake.fixed or not small:
        return own
    return min(own, max(SMALL_IMAGE_SIZE, shape.min_image_size))
