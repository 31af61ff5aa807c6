"""What a pre-training consists of, and how far it is."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from frostline.synthetic.scene import Program
from tools.pretraining.losses import Weights


@dataclass(frozen=True)
class Phase:
    """From a share of the run on (0 to 1), images of that side in pixels."""

    start: float
    size: int


@dataclass(frozen=True)
class Recipe:
    """The defaults are those of the weights that ship with Frostline; `docs/pretraining.md` says what else was tried.

    Attributes
    ----------
    program : Program
        What is drawn.
    phases : tuple of Phase
        Small images first, since they cost least; the size that will be used at the end.
    batch_size : int
        Images per gradient step.
    lr, weight_decay : float
        Of AdamW; the learning rate climbs over ``warm_up`` steps and falls along a half cosine.
    texture_stage : str
        Stage that the texture loss teaches.
    sketch_stages : tuple of str
        Stages that sketch what the image shows, the deepest last.
    weights : Weights
        How much each loss counts.
    probe_per_class : int
        Images of each object that was never drawn in training, for the probe (`held_out_accuracy`).
    """

    program: Program = field(default_factory=Program)
    phases: tuple[Phase, ...] = (Phase(0.0, 64), Phase(0.65, 128))
    batch_size: int = 256
    lr: float = 2e-3
    weight_decay: float = 0.1
    warm_up: int = 100
    texture_stage: str = "conv5"
    sketch_stages: tuple[str, ...] = ("conv3", "conv4", "conv5")
    weights: Weights = field(default_factory=Weights)
    probe_per_class: int = 60

    def size(self, done: float) -> int:
        """Return the images' side when a share of the run is done."""
        return [phase.size for phase in self.phases if done >= phase.start][-1]

    def learning_rate(self, step: int, done: float) -> float:
        """Return the learning rate of a step when a share of the run is done."""
        return self.lr * min(1.0, (step + 1) / self.warm_up) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """How long: a number of images (repeatable) or, where that is left out, minutes of work over all sittings."""

    images: int | None = None
    minutes: float = 20.0

    def done(self, images: int, seconds: float) -> float:
        """Return the share of the run that is done."""
        return images / self.images if self.images is not None else seconds / (60 * self.minutes)
