"""The hyperparameters and the length of a pre-training."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from frostline.synthetic.scene import Program
from tools.pretraining.losses import Weights


@dataclass(frozen=True)
class Phase:
    """A part of the run with images of one size."""

    start: float  # share of the run, 0 to 1
    size: int  # side in pixels


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters; the defaults are those of the bundled weights (alternatives: `docs/pretraining.md`)."""

    program: Program = field(default_factory=Program)
    phases: tuple[Phase, ...] = (Phase(0.0, 64), Phase(0.65, 128))  # small images cost less; the size of use comes last
    batch_size: int = 256
    lr: float = 2e-3  # of AdamW; rises over `warm_up` steps, then falls along a half cosine
    weight_decay: float = 0.1
    warm_up: int = 100
    texture_stage: str = "conv5"  # trained by the texture loss
    sketch_stages: tuple[str, ...] = ("conv3", "conv4", "conv5")
    weights: Weights = field(default_factory=Weights)
    probe_per_class: int = 60  # images of each held-out object (`held_out_accuracy`)

    def size(self, done: float) -> int:
        """Return the side of the images at a share of the run."""
        return [phase.size for phase in self.phases if done >= phase.start][-1]

    def learning_rate(self, step: int, done: float) -> float:
        """Return the learning rate of a step at a share of the run."""
        return self.lr * min(1.0, (step + 1) / self.warm_up) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """The length of a run: a number of images, which is reproducible, or minutes of work."""

    images: int | None = None
    minutes: float = 20.0  # in total, across interruptions; ignored with `images`

    def done(self, images: int, seconds: float) -> float:
        """Return the completed share of the run."""
        return images / self.images if self.images is not None else seconds / (60 * self.minutes)
