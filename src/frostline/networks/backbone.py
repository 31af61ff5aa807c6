"""A network as an ordered list of named stages: what can be frozen, cut and tapped."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from frostline.errors import UnknownNameError

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class WeightsOrigin:
    """Where a network's weights came from.

    Parameters
    ----------
    name : str
        ``imagenet``, ``bundled``, ``random`` or a file's path.
    sha256 : str
        Digest of the file, or of the drawn tensors for ``random``.
    reason : str
        Why these and no others, in one plain line.
    """

    name: str
    sha256: str
    reason: str


class Backbone(nn.Module):
    """Stages that run one after the other, from pixels to features.

    Parameters
    ----------
    name : str
        The network's name in the registry.
    stages : iterable of (str, nn.Sequential)
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
    """

    def __init__(
        self,
        name: str,
        stages: Iterable[tuple[str, nn.Sequential]],
        *,
        min_image_size: int,
        feature_stage: str,
        usual_taps: tuple[str, ...] = (),
        classifier: nn.Module | None = None,
        origin: WeightsOrigin | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.stages = nn.ModuleDict(dict(stages))
        self.min_image_size = min_image_size
        self.feature_stage = feature_stage
        self.usual_taps = usual_taps
        self.classifier = classifier
        self.origin = origin
        self.eval()

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
        """Run every stage, and the pre-trained head when there is one; x is (B, 3, S, S), normalised."""
        for stage in self.stages.values():
            x = stage(x)
        return x if self.classifier is None else self.classifier(x)


def channels_last(module: Net, device: torch.device | None = None) -> Net:
    """Move a module to a device, channels last: the layout that convolutions on a CPU are quickest with."""
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
