"""A network as an ordered list of named stages, which can be frozen, cut and tapped."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from frostline._utils.text import few, html_table, printable
from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.errors import ConfigError, UnknownNameError
from frostline.models.stages import accepted_sizes, accepts_size, cut, stages_agree

GIVEN = "given"  # recorded as the weights of a network passed from Python
USUAL_SIZE = 224  # of ImageNet networks

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class WeightsOrigin:
    """The origin of a network's weights."""

    name: str  # imagenet, pretrained, bundled, random, given or a file's path
    sha256: str  # of the file; of the tensors for random and given
    reason: str  # why these weights were chosen, in one line


SMALL_SIDE = 64  # images up to this side get SMALL_IMAGE_SIZE
SMALL_IMAGE_SIZE = 128  # best for its time on 28x28 images: bench/choices.py


@dataclass(frozen=True)
class Intake:
    """The images a network was trained on.

    Attributes
    ----------
    image_size : int
        Side in pixels.
    fixed : bool
        The network accepts no other size.
    mean, std : tuple of float, optional
        Per channel (red, green, blue), of values in 0..1; ImageNet's by default.
    interpolation : str
        ``bilinear`` or ``bicubic``: how images were resized.
    any_size : bool
        The network accepts every size from its smallest on; others are tested before use.
    """

    image_size: int = USUAL_SIZE
    fixed: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str = "bilinear"
    any_size: bool = False

    @property
    def normalization(self) -> tuple[tuple[float, float, float], tuple[float, float, float], str]:
        """Mean, standard deviation and interpolation, as `Preprocess` takes them."""
        return self.mean or IMAGENET_MEAN, self.std or IMAGENET_STD, self.interpolation


class Backbone(nn.Module):
    """Stages that run one after the other, from pixels to features.

    Parameters
    ----------
    name : str
        The network's name in the registry.
    stages : iterable of (str, nn.Module)
        In the order they run.
    min_image_size : int
        Smallest side in pixels that every stage accepts.
    feature_stage : str
        The stage that a new head usually reads (``conv5`` of AlexNet).
    usual_taps : tuple of str
        The stages that a head reads by default, unless stages above ``feature_stage`` are frozen.
    classifier : nn.Module, optional
        The pre-trained head, if it was loaded.
    origin : WeightsOrigin, optional
        Where the weights come from.
    intake : Intake
        The images the network was trained on.
    """

    def __init__(
        self,
        name: str,
        stages: Iterable[tuple[str, nn.Module]],
        *,
        min_image_size: int,
        feature_stage: str,
        usual_taps: tuple[str, ...] = (),
        classifier: nn.Module | None = None,
        origin: WeightsOrigin | None = None,
        intake: Intake = Intake(),
    ) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleDict(dict(stages))
        self.min_image_size = min_image_size
        self.feature_stage = feature_stage
        self.usual_taps = usual_taps
        self.classifier = classifier
        self.origin = origin
        self.intake = intake
        self.eval()

    def __repr__(self) -> str:
        return printable(f"Backbone({self.name}, {', '.join(self._facts.values())})")

    def _repr_html_(self) -> str:
        return html_table(f"Backbone {self.name}", self._facts)

    @property
    def _facts(self) -> dict[str, str]:
        count = sum(parameter.numel() for parameter in self.parameters())
        return {
            "stages": f"{len(self.stages)} stages: {few(self.stage_names, 8)}",
            "parameters": f"{count:,} parameters",
            "weights": f"{self.origin.name if self.origin else 'no'} weights",
        }

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        stages: Sequence[str] | None = None,
        *,
        name: str | None = None,
        image_size: int = USUAL_SIZE,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        interpolation: str = "bilinear",
    ) -> "Backbone":
        """Cut any network into stages.

        Parameters
        ----------
        module : nn.Module
            Maps images (B, 3, S, S) to one tensor. Its weights are shared and it is put into eval mode.
        stages : sequence of str, optional
            The last module of each stage, in the order they run: ``["layer1", "layer2", "layer3", "layer4"]``. A dot in
            a name becomes ``_``. By default they are found (`frostline.models.stages`). What follows the last stage is
            the network's own head, which a new head replaces.
        name : str, optional
            The network's name in the feature cache and in messages; by default the name of its class. Change it when
            the network computes something else with the same layers and weights.
        image_size, mean, std, interpolation
            Of the images it was trained on; see `Intake`.

        Raises
        ------
        ConfigError, UnknownNameError
            If the network cannot be cut there, or the stages compute something else than the network.
        """
        name = name or f"{type(module).__module__}.{type(module).__qualname__}"
        pieces = cut(module, name, stages)
        stages_agree(module, pieces, image_size, name)
        smallest, fixed = accepted_sizes([stage for _, stage in pieces.stages], image_size)
        return cls(
            name,
            pieces.stages,
            min_image_size=smallest,
            feature_stage=pieces.stages[-1][0],
            classifier=pieces.head,
            intake=Intake(image_size, fixed, mean, std, interpolation),
        )

    def upto(self, last: str, *, with_classifier: bool = False) -> "Backbone":
        """Return the network without the stages above ``last``; weights are shared."""
        names = self.stage_names[: self.position(last) + 1]
        return Backbone(
            self.name,
            [(name, self.stages[name]) for name in names],
            min_image_size=self.min_image_size,
            feature_stage=self.feature_stage,
            usual_taps=self.usual_taps,
            classifier=self.classifier if with_classifier else None,
            origin=self.origin,
            intake=self.intake,
        )

    def usual_image_size(self, longer_side: int | None) -> int:
        """Return the network's own size, or a smaller one where images are small.

        Parameters
        ----------
        longer_side : int or None
            Of the largest image, in pixels; ``None`` where it is not known.
        """
        own = self.intake.image_size
        if self.intake.fixed or longer_side is None or longer_side > SMALL_SIDE:
            return own
        return min(own, max(SMALL_IMAGE_SIZE, self.min_image_size))

    def outline(self) -> "Backbone":
        """Return a copy without values, on torch's meta device."""
        return copy.deepcopy(self).to("meta")

    @property
    def stage_names(self) -> list[str]:
        """The stages' names, in the order they run."""
        return list(self.stages)

    def position(self, stage: str) -> int:
        """Return the index of a stage.

        Raises
        ------
        UnknownNameError
            With the nearest match.
        """
        if stage not in self.stages:
            raise UnknownNameError(f"stage of {self.name}", stage, self.stage_names)
        return self.stage_names.index(stage)

    def between(self, after: str | None, last: str) -> nn.Sequential:
        """Return the stages after ``after`` (``None``: from the first) up to and with ``last``; they share weights."""
        first = 0 if after is None else self.position(after) + 1
        return nn.Sequential(*list(self.stages.values())[first : self.position(last) + 1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run every stage, and the pre-trained head if there is one; x is (B, 3, S, S), normalized."""
        for stage in self.stages.values():
            x = stage(x)
        return x if self.classifier is None else self.classifier(x)


def channels_last(module: Net, device: torch.device | None = None) -> Net:
    """Move a module to a device, in channels-last layout, which is the fastest for convolutions on a CPU."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True)
class StageFacts:
    """Size and cost of a stage; ``output`` is (C, H, W) or (F,), multiply-accumulates are per image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int


def describe(stages: Sequence[tuple[str, nn.Module]], image_size: int) -> list[StageFacts]:
    """Measure stages, in the order they run, on torch's meta device: exact counts without computation."""
    facts = []
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    for name, stage in stages:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = stage(x)
        parameters = sum(parameter.numel() for parameter in stage.parameters())
        # The counter reports two operations for each multiply-accumulate.
        facts.append(StageFacts(name, tuple(x.shape[1:]), parameters, counter.get_total_flops() // 2))
    return facts


def check_image_size(backbone: Backbone, image_size: int) -> None:
    """Reject a size that some stage cannot process; the network must be on the meta device (`Backbone.outline`).

    Raises
    ------
    ConfigError
    """
    own = backbone.intake.image_size
    if backbone.intake.fixed and image_size != own:
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: it accepts only {own} pixels.")
    if image_size < backbone.min_image_size:
        raise ConfigError(
            f"--image-size {image_size} is too small for {backbone.name}: "
            f"expected {backbone.min_image_size} pixels or more."
        )
    if not backbone.intake.any_size and not accepts_size(list(backbone.stages.values()), image_size):
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: try {own}.")
