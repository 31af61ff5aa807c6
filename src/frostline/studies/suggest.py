"""A first configuration for a data set: each choice that matters, and the reason in what was seen."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.decoder import headers
from frostline.data.splits import train_val
from frostline.models.registry import outline
from frostline.pipeline.phases import CLOSED_FORM_IMAGES, EPOCHS, FEWEST_STEPS, PATIENCE, PEAK_LR, usual_epochs
from frostline.pipeline.resolve import SMALL_IMAGE_SIZE, SMALL_SIDE

SAMPLE = 300  # headers that are read
GRAY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes
    ----------
    counts : dict of str to int
        Training images of each class.
    val, test : int
        Images in those splits; 0 where a run draws validation by itself.
    width, height : int
        Medians, of ``sampled`` images.
    longest_side : int or None
        Of all images.
    gray : float
        Share of gray images among the sampled.
    bad : int
        Images that cannot be read.
    alike : int
        Training images that look like an earlier one of their class.
    """

    counts: dict[str, int]
    val: int
    test: int
    sampled: int
    width: int
    height: int
    longest_side: int | None
    gray: float
    bad: int
    alike: int

    @property
    def train(self) -> int:
        """Training images, those of a validation split that a run draws included."""
        return sum(self.counts.values())

    @property
    def smallest(self) -> tuple[str, int]:
        """The class with the fewest images."""
        return min(self.counts.items(), key=lambda item: item[1])

    @property
    def largest(self) -> tuple[str, int]:
        """The class with the most images."""
        return max(self.counts.items(), key=lambda item: item[1])


def survey(splits: Splits) -> Survey:
    """Look at a loaded data set."""
    part = splits.train
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    sizes, modes = _headers(part)
    groups = part.groups
    return Survey(
        counts={name: int(count) for name, count in zip(part.class_names, counts, strict=True)},
        val=len(splits.val) if splits.val is not None else 0,
        test=len(splits.test),
        sampled=len(sizes),
        width=int(np.median([size[0] for size in sizes])),
        height=int(np.median([size[1] for size in sizes])),
        longest_side=part.side,
        gray=sum(mode in GRAY_MODES for mode in modes) / len(modes),
        bad=len(splits.bad),
        alike=0 if groups is None else len(groups) - len(np.unique(groups)),
    )


def _headers(part: ImageDataset) -> tuple[list[tuple[int, int]], list[str]]:
    """Return sizes (width, height) and modes of some images, spread evenly over all."""
    if isinstance(part.images, np.ndarray):
        height, width = part.images.shape[1:3]
        return [(width, height)], ["L" if part.images.ndim == 3 else "RGB"]
    chosen: Sequence[Path] = [part.images[i] for i in np.unique(np.linspace(0, len(part) - 1, SAMPLE).astype(int))]
    found = headers(chosen)
    return [size for size, _ in found], [mode for _, mode in found]


FEW_PER_CLASS = 50  # views of each image are worth a try below this
VIEWS = 4
UNEVEN = 3.0  # times as many images in the largest class as in the smallest: worth a word
FEW_JUDGES = 200  # a validation split that small has a standard error of two points and more

REST = (
    "Left out: labels_per_class and limit (every label is used), and what `frostline train --help` names besides; a "
    "run writes all of it into its own config.toml."
)


@dataclass(frozen=True)
class Suggestion:
    """A setting, its value, and why it is that."""

    name: str
    value: Any
    why: str


def suggest(splits: Splits, data: str) -> tuple[list[str], list[Suggestion]]:
    """Return what was seen, in sentences, and what follows from it.

    Parameters
    ----------
    splits : Splits
    data : str
        What the configuration calls the data set.
    """
    seen = survey(splits)
    train, val = _after_split(splits)
    return list(_seen(seen)), [Suggestion("data", data, "the images"), *_choices(seen, train, val)]


def _after_split(splits: Splits) -> tuple[int, int]:
    """Return how many images a run trains on and validates on."""
    if splits.val is not None:
        return len(splits.train), len(splits.val)
    config = TrainConfig(data="")
    chosen, held_out = train_val(splits.train.labels, config.val_fraction, config.seed, splits.train.groups)
    return len(chosen), len(held_out)


def _seen(seen: Survey) -> Iterator[str]:
    yield (
        f"{seen.train:,} images to train and validate on, {seen.test:,} to test, {len(seen.counts)} classes: "
        + ", ".join(f"{name} {count:,}" for name, count in list(seen.counts.items())[:12])
        + (" …" if len(seen.counts) > 12 else "")
        + "."
    )
    (rare, few), (common, many) = seen.smallest, seen.largest
    if many >= UNEVEN * max(few, 1):
        yield (
            f"The classes are uneven: {common} has {many / max(few, 1):.1f} times as many images as {rare}. Look at "
            "the results of each class, not at the accuracy alone."
        )
    colors = "all gray" if seen.gray == 1 else "all colored" if seen.gray == 0 else f"{seen.gray:.0%} of them gray"
    yield f"The median image is {seen.width} x {seen.height} pixels (of {seen.sampled:,} looked at), {colors}."
    if seen.bad:
        yield f"Files that cannot be read: {seen.bad:,}. A run leaves them out and names them in bad_images.csv."
    if seen.alike:
        yield f"Images that look like another of their class: {seen.alike:,}. A drawn split keeps such together."


def _choices(seen: Survey, train: int, val: int) -> Iterator[Suggestion]:
    config, shape = TrainConfig(data=""), outline(TrainConfig(data="").model)
    size = shape.intake.image_size
    small = seen.longest_side is not None and seen.longest_side <= SMALL_SIDE
    yield Suggestion(
        "model", config.model, f"{len(shape.stage_names)} stages; see `frostline models show {config.model}`"
    )
    yield Suggestion("weights", config.weights, "ImageNet's when they are here or reachable, else the bundled ones")
    yield Suggestion(
        "freeze",
        shape.feature_stage,
        "every stage up to it runs once, and a head alone is trained; conv3, "
        "or none, trains more of the network and takes far longer",
    )
    yield Suggestion("taps", list(shape.usual_taps), "the stages that the head reads: fewer are quicker and say less")
    yield (
        Suggestion(
            "image_size",
            SMALL_IMAGE_SIZE,
            f"no image is larger than {SMALL_SIDE} px: enlarging them that far helps, and more costs time for little",
        )
        if small
        else Suggestion(
            "image_size",
            size,
            f"the median image is {seen.width} x {seen.height}, and {size} px is "
            f"what ImageNet networks were taught on; {SMALL_IMAGE_SIZE} takes about a third of the time",
        )
    )
    yield from _closed_form(train) if train <= CLOSED_FORM_IMAGES else _stepwise(train, config)
    yield _views(seen)
    if not seen.val:
        error = math.sqrt(0.25 / max(val, 1))
        word = f"few: its accuracy has a standard error of up to {error:.3f}" if val < FEW_JUDGES else "enough"
        yield Suggestion(
            "val_fraction",
            config.val_fraction,
            f"there is no validation split, so a run draws one: {val:,} images that choose; that is {word}",
        )
    yield Suggestion(
        "seed", config.seed, "another one draws other splits and orders: the spread tells how sure a result is"
    )


def _closed_form(train: int) -> Iterator[Suggestion]:
    why = (
        f"linear, in closed form: with up to {CLOSED_FORM_IMAGES:,} images to train on (here {train:,}) as accurate "
        "as one that is trained step by step or more so, and done at once; validation chooses its strength"
    )
    yield Suggestion("head", "ridge", why)
    yield Suggestion(
        "prior",
        "drawn",
        "before any label it learns from drawn images how images of one object differ; none leaves that out",
    )


def _stepwise(train: int, config: TrainConfig) -> Iterator[Suggestion]:
    yield Suggestion(
        "head",
        "linear",
        "the quickest to train; mlp adds a layer of hidden units, ridge is linear and "
        "solved in closed form, which is best for few images",
    )
    yield _epochs(train, config)
    yield Suggestion(
        "batch_size", config.batch_size, f"gradient steps an epoch: {math.ceil(train / config.batch_size):,}"
    )
    yield Suggestion(
        "lr",
        PEAK_LR[config.optimizer, "linear"],
        f"suits {config.optimizer} and a linear head; "
        "`frostline find-lr` suggests one, `frostline tune` searches where it is left out",
    )
    yield Suggestion(
        "weight_decay", config.weight_decay, "the usual one; `frostline tune` searches where it is left out"
    )
    yield Suggestion(
        "label_smoothing",
        config.label_smoothing,
        "raised the accuracy with many labels, and made no clear difference with few",
    )


def _epochs(train: int, config: TrainConfig) -> Suggestion:
    epochs = usual_epochs(train, config.batch_size, head_only=True)
    if epochs == EPOCHS:
        return Suggestion(
            "epochs", epochs, f"enough for a head on {train:,} images; validation chooses the best of them"
        )
    why = (
        f"more than the usual {EPOCHS}, for {train:,} images are few: a head needs some {FEWEST_STEPS} gradient "
        f"steps; it stops after {max(PATIENCE, epochs // 4)} without a better one"
    )
    return Suggestion("epochs", epochs, why)


def _views(seen: Survey) -> Suggestion:
    each = seen.train / len(seen.counts)
    if each < FEW_PER_CLASS:
        why = (
            f"each image as it is. With {each:.0f} a class, {VIEWS} versions of each are worth a try; they cost "
            f"{VIEWS} frozen passes, and may help or not: let validation say"
        )
        return Suggestion("views", 1, why)
    return Suggestion("views", 1, f"each image as it is: with {each:,.0f} a class, more versions cost much for little")


def to_toml(seen: list[str], choices: list[Suggestion], width: int = 110) -> str:
    """Return the choices as TOML, each below its reason."""
    lines = ["# Settings for `frostline train --config THIS_FILE`. What was seen:", "#"]
    for sentence in seen:
        lines += _comment(sentence, width)
    for choice in choices:
        lines += [
            "",
            *_comment(choice.why, width),
            tomli_w.dumps({choice.name: choice.value}).replace("\n    ", " ").replace(",\n]", " ]").rstrip(),
        ]
    lines += ["", *_comment(REST, width)]
    return "\n".join(lines) + "\n"


def _comment(text: str, width: int) -> list[str]:
    safe = "".join(c if c.isprintable() else "?" for c in text)
    return ["# " + line for line in textwrap.wrap(safe, width)]
