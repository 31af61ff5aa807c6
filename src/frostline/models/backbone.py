"""A network as an ordered list of named stages: what can be frozen, cut and tapped."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from frostline._utils.text import few, html_table, printable
from frostline.errors import ConfigError, UnknownNameError
from frostline.models.stages import accepted_sizes, accepts_size, cut, stages_agree

GIVEN = "given"  # what is recorded as the weights of a network that came from Python
USUAL_SIZE = 224  # what ImageNet networks are taught at

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a network's weights came from.

    Parameters
    ----------
    name : str
        ``imagenet``, ``pretrained``, ``bundled``, ``random``, ``given`` or a file's path.
    sha256 : str
        Digest of the file, or of the drawn tensors for ``random``.
    reason : str
        Why these and no others, in one plain line.
    """

    name: str
    sha256: str
    reason: str


@dataclass(frozen=True)
class Intake:
    """Which images a network was made for.

    Parameters
    ----------
    image_size : int
        Side in pixels that it was taught at.
    fixed : bool
        It takes that size alone.
    mean, std : tuple of float, optional
        Per channel (red, green, blue), of values in 0..1; ImageNet's when left out.
    interpolation : str
        ``bilinear`` or ``bicubic``: how images were resized.
    any_size : bool
        It takes every size from its smallest on, so that none has to be tried.
    """

    image_size: int = USUAL_SIZE
    fixed: bool = False
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str = "bilinear"
    any_size: bool = False


class Backbone(nn.Module):
    """Stages that run one after the other, from pixels to features.

    Parameters
    ----------
    name : str
        The network's name in the registry.
    stages : iterable of (str, nn.Module)
        In the order they run.
    min_image_size : int
        Smallest side in pixels that every stage can take.
    feature_stage : str
        The last stage that a new head is usually put on (``conv5`` of AlexNet).
    usual_taps : tuple of str
        The stages a head reads by default when exactly the stages up to ``feature_stage`` are frozen.
    classifier : nn.Module, optional
        The pre-trained head, when it was loaded too.
    origin : WeightsOrigin, optional
        Where the weights came from.
    intake : Intake
        Which images it was made for.
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
            The module that each stage ends with, in the order they run: ``["layer1", "layer2", "layer3", "layer4"]``. A
            dot in a name becomes ``_``. When left out they are found (`frostline.models.stages`). What follows the
            last one is the network's own head: a new one reads what it reads.
        name : str, optional
            Kept activations and messages know the network by it; the class's when left out. Give another one when code
            of the network's own changes what it computes and its layers and weights stay the same.
        image_size, mean, std, interpolation
            Of the images it was made for; see `Intake`.

        Raises
        ------
        ConfigError, UnknownNameError
            When it cannot be cut there, or the stages do not give what the network gives.
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
        """Run every stage, and the pre-trained head when there is one; x is (B, 3, S, S), normalized."""
        for stage in self.stages.values():
            x = stage(x)
        return x if self.classifier is None else self.classifier(x)


def channels_last(module: Net, device: torch.device | None = None) -> Net:
    """Move a module to a device, channels last: the layout that convolutions on a CPU are quickest with."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


@dataclass(frozen=True)
class StageFacts:
    """One row of the table; ``output`` is (C, H, W) or (F,), counts are per image."""

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_accumulates: int


def describe(stages: Sequence[tuple[str, nn.Module]], image_size: int) -> list[StageFacts]:
    """Measure each stage on torch's meta device: exact, and nothing is computed.

    Parameters
    ----------
    stages : sequence of (str, nn.Module)
        In the order they run; weights on the meta device.
    image_size : int
        Side of the square input in pixels.
    """
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
    """Refuse a size that some stage cannot take; the network has no values (`Backbone.outline`).

    Raises
    ------
    ConfigError
        Naming the smallest size that works.
    """
    own = backbone.intake.image_size
    if backbone.intake.fixed and image_size != own:
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: it takes {own} pixels alone.")
    if image_size < backbone.min_image_size:
        raise ConfigError(
            f"--image-size {image_size} is too small for {backbone.name}: "
            f"expected {backbone.min_image_size} pixels or more."
        )
    if not backbone.intake.any_size and not accepts_size(list(backbone.stages.values()), image_size):
        raise ConfigError(f"--image-size {image_size} does not suit {backbone.name}: {own} does, for one.")
