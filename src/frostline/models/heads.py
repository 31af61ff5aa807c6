"""Heads: a linear classifier or a small multi-layer perceptron on features."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class HeadSpec:
    """A head's architecture; saved with the model."""

    kind: str  # linear, mlp, or ridge: a linear layer fitted in closed form
    features: int
    classes: int
    hidden_width: int = 512  # of mlp only, like dropout
    dropout: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON values."""
        return asdict(self)


def feature_scale(std: torch.Tensor) -> torch.Tensor:
    """Return the factor (F,) that standardizes centered features; nearly constant features are not amplified."""
    return 1 / (std + 0.05 * std.mean() + 1e-12)


class Head(nn.Module):
    """Standardize each feature, then classify.

    Mean and scale are constants measured on the training split. They are folded into the first layer's weights at every
    step, so the batch itself is never copied: ``W ((x - m) * s) + b == (W * s) x + (b - (W * s) m)``.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        outputs = spec.hidden_width if spec.kind == "mlp" else spec.classes
        self.first = nn.Linear(spec.features, outputs)
        self.register_buffer("mean", torch.zeros(spec.features))
        self.register_buffer("scale", torch.ones(spec.features))
        if spec.kind == "mlp":
            self.rest: nn.Module = nn.Sequential(
                nn.ReLU(), nn.Dropout(spec.dropout), nn.Linear(spec.hidden_width, spec.classes)
            )
        else:  # a linear layer needs no random values: its gradient at zero is useful, and independent of the seed
            self.rest = nn.Identity()
            nn.init.zeros_(self.first.weight)
            nn.init.zeros_(self.first.bias)

    def standardize(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        """Set the features' mean and standard deviation (F,)."""
        self.mean.copy_(mean)
        self.scale.copy_(feature_scale(std))

    @torch.no_grad()
    def soften(self, temperature: float) -> None:
        """Divide all logits by a temperature, in the weights."""
        last = self.rest[-1] if isinstance(self.rest, nn.Sequential) else self.first
        for parameter in last.parameters():
            parameter.div_(temperature)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, classes) for features (B, ...), flattened."""
        weight = self.first.weight * self.scale  # (O, F)
        bias = self.first.bias - weight @ self.mean  # (O,)
        hidden: torch.Tensor = nn.functional.linear(x.flatten(1), weight, bias)  # (B, O)
        logits: torch.Tensor = self.rest(hidden)  # (B, classes)
        return logits
