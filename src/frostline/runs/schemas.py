"""Schemas of the files of a run: types, ranges and consistent counts; unknown keys are accepted."""

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from frostline.data.levels import Levels
from frostline.evaluation.rejection import Rejection

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
ROUNDING = 1e-6


class Schema(BaseModel):
    """Strict JSON types, finite numbers."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class LevelsRecord(Schema):
    """A `Levels` as returned by `Levels.to_dict`."""

    model_config = ConfigDict(extra="forbid")

    whole: tuple[float, float] | None = None
    real: tuple[float, float] | None = None
    transparency: str | None = None

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.make()
        return self

    def make(self) -> Levels:
        """Return the levels."""
        return Levels.from_dict(self.model_dump(exclude_none=True))


class RejectionRecord(Schema):
    """A `Rejection` as returned by `Rejection.to_dict`."""

    model_config = ConfigDict(extra="forbid")

    images: int
    thresholds: tuple[float, ...]

    @model_validator(mode="after")
    def _valid(self) -> Self:
        self.make()
        return self

    def make(self) -> Rejection:
        """Return the thresholds."""
        return Rejection(self.images, self.thresholds)


class SplitRecord(Schema):
    """Number of images of a split, and the digest of their content, order and labels."""

    images: Count
    fingerprint: str


class WeightsRecord(Schema):
    """Origin of the weights, and the reason for choosing them."""

    name: str
    sha256: Sha256
    reason: str


class BeginRecord(Schema):
    """``data.json``: images, weights and whether the images chose the network, at the start of a run.

    Earlier versions recorded less.
    """

    train: SplitRecord
    val: SplitRecord
    test: SplitRecord
    weights: WeightsRecord | None = None
    compared: bool = True


class ClassResults(Schema):
    """Results of one class."""

    precision: Share
    recall: Share
    f1: Share
    support: Count


class SplitResults(Schema):
    """Results of one split."""

    images: Annotated[int, Field(ge=1)]
    accuracy: Share
    accuracy_ci95: tuple[Share, Share]
    loss: Amount
    top5_accuracy: Share
    balanced_accuracy: Share | None = None  # None: written by an earlier version
    f1_macro: Share
    ece: Share
    per_class: Annotated[dict[str, ClassResults], Field(min_length=1)]
    confusion: list[list[Count]]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        classes = len(self.per_class)
        if len(self.confusion) != classes or any(len(row) != classes for row in self.confusion):
            raise ValueError(f"confusion is not a table of {classes} x {classes} classes")
        confusion = np.array(self.confusion)
        if confusion.sum(1).tolist() != [line.support for line in self.per_class.values()]:
            raise ValueError("confusion does not agree with per_class")
        if confusion.sum() != self.images:
            raise ValueError("confusion does not agree with images")
        if not math.isclose(confusion.trace() / self.images, self.accuracy, abs_tol=ROUNDING):
            raise ValueError("confusion does not agree with accuracy")
        low, high = self.accuracy_ci95
        if not low - ROUNDING <= self.accuracy <= high + ROUNDING:
            raise ValueError("accuracy is outside accuracy_ci95")
        if self.top5_accuracy < self.accuracy - ROUNDING:
            raise ValueError("top5_accuracy is below accuracy")
        return self


class FrozenPassResults(Schema):
    """Size and time of the frozen pass."""

    images: Count
    from_cache: Count
    seconds: Amount
    images_per_second: Amount


class TrainingResults(Schema):
    """Epochs and time of training; ``l2`` of a head fitted in closed form."""

    epochs: Annotated[int, Field(ge=1)]
    best_epoch: Annotated[int, Field(ge=1)]
    seconds: Amount
    temperature: Positive | None = None
    l2: Amount | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.best_epoch > self.epochs:
            raise ValueError("best_epoch is beyond epochs")
        return self


class CalibrationResults(Schema):
    """Calibration temperature."""

    temperature: Positive


class NetworkResults(Schema):
    """Network and head."""

    name: str
    freeze: str
    taps: list[str]
    image_size: Annotated[int, Field(ge=1)]
    head: str = ""
    prior: str | None = None
    class_weights: str = "none"
    compared: bool = True
    parameters: Count
    trainable_parameters: Count


class BlankImages(Schema):
    """Images of a single color; ``examples`` names some."""

    count: Count = 0
    examples: list[str] = []


class SharedImages(Schema):
    """Images of one split that are also, or almost, in another."""

    identical: Count
    look_alike: Count | None = None


class DataResults(Schema):
    """Data set; earlier versions recorded less."""

    name: str
    images: dict[str, Count]
    fingerprint: dict[str, str] = {}
    class_images: dict[str, dict[str, Count]] = {}  # of each split; earlier versions: none
    blank_images: BlankImages = BlankImages()
    overlap: dict[str, SharedImages] = {}


class HeldOutClass(Schema):
    """Held-out images of one class."""

    images: Count
    correct: Count


class SuspectedLabel(Schema):
    """A label that may be wrong."""

    image: str
    label: str
    predicted: str


class HeldOutResults(Schema):
    """Results on images that the head was not trained on, none from the test split."""

    images: Annotated[int, Field(ge=1)]
    correct: Count
    per_class: dict[str, HeldOutClass]
    confused: list[tuple[str, str, Count]]
    suspected: list[SuspectedLabel]


class WeightsResults(Schema):
    """Initial weights."""

    name: str | None = None
    sha256: Sha256 | None = None


class Results(Schema):
    """``metrics.json``; ``test`` is missing or null without a test split."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    val: SplitResults
    test: SplitResults | None = None
    calibration: CalibrationResults | None = None
    held_out: HeldOutResults | None = None
    frozen_pass: FrozenPassResults
    training: TrainingResults
    weights: WeightsResults
    model: NetworkResults
    data: DataResults | None = None
    seed: Count
    versions: dict[str, str] = {}
    device: str = ""
    peak_memory_bytes: Count = 0
    total_seconds: Amount

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.test is not None and list(self.test.per_class) != list(self.val.per_class):
            raise ValueError("val and test have different classes")
        names = list(self.val.per_class)
        if self.data is not None and any(list(images) != names for images in self.data.class_images.values()):
            raise ValueError("class_images has other classes than val")
        if self.held_out is not None and list(self.held_out.per_class) != names:
            raise ValueError("held_out has other classes than val")
        if self.held_out is not None and not {name for pair in self.held_out.confused for name in pair[:2]} <= {*names}:
            raise ValueError("held_out confuses unknown classes")
        return self


def same_images(results: dict[str, Any], record: BeginRecord) -> bool:
    """Whether results (as in ``metrics.json``) are of the images in ``data.json``."""
    splits = {"train": record.train, "val": record.val, "test": record.test}
    found = results.get("data", {}).get("fingerprint", {})
    return all(found.get(name) in (None, split.fingerprint) for name, split in splits.items())


def same_settings(results: dict[str, Any], settings: dict[str, Any]) -> bool:
    """Whether results (as in ``metrics.json``) are of a run with the settings in ``config.toml``."""
    model = results["model"]
    found = {"seed": results["seed"], "image_size": model["image_size"], "freeze": model["freeze"]}
    return all(settings[name] in (None, value) for name, value in found.items())
