"""First configuration for a data set: a value for each important setting, with the reason."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomli_w

from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.decoder import headers
from frostline.data.splits import train_val
from frostline.models.backbone import SMALL_IMAGE_SIZE, SMALL_SIDE
from frostline.models.registry import outline
from frostline.pipeline.phases import CLOSED_FORM_IMAGES, EPOCHS, FEWEST_STEPS, PATIENCE, PEAK_LR, usual_epochs
from frostline.pipeline.rank import AUTO, with_model

SAMPLE = 300  # images whose headers are read
GRAY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")
FEW_PER_CLASS = 50  # with fewer images per class, augmented views may help
VIEWS = 4
IMBALANCE = 3.0  # ratio of the largest to the smallest class that is worth a note
FEW_VAL_IMAGES = 200  # accuracy on fewer has a standard error of two points and more

REST = (
    "Not listed: labels_per_class and limit (all labels are used), and the other options of `frostline train --help`. "
    "A run writes all settings to its own config.toml."
)


@dataclass(frozen=True)
class Survey:
    """Facts about a data set that the suggestions depend on."""

    counts: dict[str, int]  # training images of each class
    val: int  # images of a validation split of the data set; 0 if runs draw their own
    test: int
    sampled: int  # images whose headers were read
    width: int  # median of the sampled images
    height: int
    longest_side: int | None  # of all images
    gray: float  # fraction of the sampled images
    bad: int  # files that cannot be read
    similar: int  # training images that look like another one of their class

    @property
    def train(self) -> int:
        """Number of training images, including those that a run draws for validation."""
        return sum(self.counts.values())


class Suggestion(NamedTuple):
    """A setting, its value, and the reason."""

    name: str
    value: Any
    reason: str


def suggest(splits: Splits, data: str) -> tuple[list[str], list[Suggestion]]:
    """Return sentences that describe a data set, and suggested settings for it.

    Parameters
    ----------
    data : str
        The name of the data set in the configuration.
    """
    facts, config = survey(splits), with_model(TrainConfig(data=data))
    if splits.val is not None:
        train, val = len(splits.train), len(splits.val)
    else:
        drawn = train_val(splits.train.labels, config.val_fraction, config.seed, splits.train.groups)
        train, val = map(len, drawn)
    return list(_description(facts)), [
        Suggestion("data", data, "the images"),
        *_network(facts, config),
        *(_closed_form(train) if train <= CLOSED_FORM_IMAGES else _stepwise(train, config)),
        _views(facts),
        *([] if facts.val else [_validation(val, config)]),
        Suggestion(
            "seed", config.seed, "other seeds draw other splits and orders: the spread shows how certain a result is"
        ),
    ]


def survey(splits: Splits) -> Survey:
    """Collect the facts about a loaded data set."""
    part = splits.train
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    sizes, modes = _headers(part)
    width, height = np.median(sizes, axis=0).astype(int).tolist()
    return Survey(
        counts=dict(zip(part.class_names, counts.tolist(), strict=True)),
        val=len(splits.val) if splits.val is not None else 0,
        test=len(splits.test),
        sampled=len(sizes),
        width=width,
        height=height,
        longest_side=part.side,
        gray=sum(mode in GRAY_MODES for mode in modes) / len(modes),
        bad=len(splits.bad),
        similar=0 if part.groups is None else len(part.groups) - len(np.unique(part.groups)),
    )


def _headers(part: ImageDataset) -> tuple[list[tuple[int, int]], list[str]]:
    """Return sizes (width, height) and modes of some images, spread evenly over all."""
    if isinstance(part.images, np.ndarray):
        height, width = part.images.shape[1:3]
        return [(width, height)], ["L" if part.images.ndim == 3 else "RGB"]
    chosen: Sequence[Path] = [part.images[i] for i in np.unique(np.linspace(0, len(part) - 1, SAMPLE).astype(int))]
    found = headers(chosen)
    return [size for size, _ in found], [mode for _, mode in found]


def _description(facts: Survey) -> Iterator[str]:
    classes = ", ".join(f"{name} {count:,}" for name, count in list(facts.counts.items())[:12])
    yield (
        f"{facts.train:,} images to train and validate on, {facts.test:,} to test, {len(facts.counts)} classes: "
        f"{classes}{' …' if len(facts.counts) > 12 else ''}."
    )
    smallest, largest = min(facts.counts, key=facts.counts.__getitem__), max(facts.counts, key=facts.counts.__getitem__)
    ratio = facts.counts[largest] / max(facts.counts[smallest], 1)
    if ratio >= IMBALANCE:
        yield (
            f"The classes are imbalanced: {largest} has {ratio:.1f} times as many images as {smallest}. Check the "
            "results of each class, not only the accuracy."
        )
    colors = "all gray" if facts.gray == 1 else "all colored" if facts.gray == 0 else f"{facts.gray:.0%} of them gray"
    yield f"The median image has {facts.width} x {facts.height} pixels (sampled: {facts.sampled:,}), {colors}."
    if facts.bad:
        yield f"Files that cannot be read: {facts.bad:,}. A run skips them and lists them in bad_images.csv."
    if facts.similar:
        yield f"Images that look like another of their class: {facts.similar:,}. Random splits keep them together."


def _network(facts: Survey, config: TrainConfig) -> Iterator[Suggestion]:
    small = facts.longest_side is not None and facts.longest_side <= SMALL_SIDE
    if config.model == AUTO:
        yield Suggestion(
            "model",
            AUTO,
            "the best network for these images of those with pre-trained weights on this machine, and the stages that "
            "the head reads, compared on training images; `frostline models rank` shows the table. Or name one of "
            "`frostline models list`: then weights, freeze and taps can be set, too",
        )
        if small:
            yield _small_size()
        return
    shape = outline(config.model)
    stages = len(shape.stage_names)
    yield Suggestion("model", config.model, f"{stages} stages; see `frostline models show {config.model}`")
    yield Suggestion("weights", config.weights, "ImageNet weights if available, otherwise the bundled ones")
    yield Suggestion(
        "freeze",
        shape.feature_stage,
        "stages up to this one run once, and only a head is trained; conv3, or none, trains more of the network and "
        "takes much longer",
    )
    yield Suggestion("taps", list(shape.usual_taps), "stages the head reads: fewer are faster but less accurate")
    if small:
        yield _small_size()


def _small_size() -> Suggestion:
    reason = f"images of up to {SMALL_SIDE} px gain from enlarging to this size, but little from more"
    return Suggestion("image_size", SMALL_IMAGE_SIZE, reason)


def _closed_form(train: int) -> Iterator[Suggestion]:
    yield Suggestion(
        "head",
        "ridge",
        f"linear, fitted in closed form: with up to {CLOSED_FORM_IMAGES:,} training images (here {train:,}) at least "
        "as accurate as a head trained by gradient descent, and immediate; validation selects its penalty",
    )
    yield Suggestion(
        "prior",
        "auto",
        "drawn for alexnet: learns how images of one object differ from drawn images, without labels; none for others",
    )


def _stepwise(train: int, config: TrainConfig) -> Iterator[Suggestion]:
    yield Suggestion(
        "head",
        "linear",
        "the fastest to train; mlp adds a hidden layer, ridge is linear and fitted in closed form, which is best for "
        "few images",
    )
    epochs = usual_epochs(train, config.batch_size, head_only=True)
    if epochs == EPOCHS:
        yield Suggestion("epochs", epochs, f"enough for a head on {train:,} images; validation selects the best")
    else:
        yield Suggestion(
            "epochs",
            epochs,
            f"more than the usual {EPOCHS} because {train:,} images are few: a head needs about {FEWEST_STEPS} "
            f"gradient steps; training stops after {max(PATIENCE, epochs // 4)} epochs without improvement",
        )
    steps = math.ceil(train / config.batch_size)
    yield Suggestion("batch_size", config.batch_size, f"gradient steps per epoch: {steps:,}")
    yield Suggestion(
        "lr",
        PEAK_LR[config.optimizer, "linear"],
        f"the default for {config.optimizer} and a linear head; `frostline find-lr` suggests one, `frostline tune` "
        "searches it when unset",
    )
    yield Suggestion("weight_decay", config.weight_decay, "the default; `frostline tune` searches it when unset")
    yield Suggestion(
        "label_smoothing", config.label_smoothing, "increased the accuracy with many labels; no clear effect with few"
    )


def _views(facts: Survey) -> Suggestion:
    per_class = facts.train / len(facts.counts)
    if per_class < FEW_PER_CLASS:
        reason = (
            f"no augmentation. With {per_class:.0f} images per class, {VIEWS} views of each may help; they cost "
            f"{VIEWS} frozen passes, so compare the validation accuracy"
        )
    else:
        reason = f"no augmentation: with {per_class:,.0f} images per class, views cost much and help little"
    return Suggestion("views", 1, reason)


def _validation(images: int, config: TrainConfig) -> Suggestion:
    error = math.sqrt(0.25 / max(images, 1))
    reason = f"the data set has no validation split, so a run draws {images:,} images"
    if images < FEW_VAL_IMAGES:
        reason += f"; accuracy on so few has a standard error of up to {error:.3f}"
    return Suggestion("val_fraction", config.val_fraction, reason)


def to_toml(description: Sequence[str], suggestions: Sequence[Suggestion], width: int = 110) -> str:
    """Return suggestions as TOML, each below its reason."""
    lines = ["# Settings for `frostline train --config THIS_FILE`. The data set:", "#"]
    for sentence in description:
        lines += _comment(sentence, width)
    for name, value, reason in suggestions:
        setting = tomli_w.dumps({name: value}).replace("\n    ", " ").replace(",\n]", " ]").rstrip()
        lines += ["", *_comment(reason, width), setting]
    lines += ["", *_comment(REST, width)]
    return "\n".join(lines) + "\n"


def _comment(text: str, width: int) -> list[str]:
    safe = "".join(c if c.isprintable() else "?" for c in text)
    return ["# " + line for line in textwrap.wrap(safe, width)]
