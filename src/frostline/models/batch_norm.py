"""Batch normalization for thawed convolutions: inserted without changing their output, folded away after training."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from frostline.models.backbone import channels_last

FLAT = 1e-3  # least standard deviation that a filter's outputs are divided by


class NormalizedConvolution(nn.Module):
    """A convolution and batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Parameters
    ----------
    plain : nn.Conv2d
        Defines the shape. The new weights are random (He et al. 2015), without bias: the normalization has one.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = _shaped_like(plain, bias=False)
        self.norm = nn.BatchNorm2d(plain.out_channels)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return normalized outputs (B, C, H, W)."""
        outputs: torch.Tensor = self.norm(self.convolution(x))
        return outputs

    @torch.no_grad()
    def unfold(self, plain: nn.Conv2d, x: torch.Tensor) -> None:
        """Take over a plain convolution, with statistics of its outputs for x (B, channels, H, W); inverts `folded`.

        The filters are scaled to outputs with a standard deviation of 1, as with He's initialization, and the
        normalization scales them back.
        """
        self.convolution.weight.copy_(plain.weight)
        outputs = self.convolution(x)
        std = outputs.std((0, 2, 3)).clamp_min(FLAT)  # (C,)
        mean = outputs.mean((0, 2, 3))
        self.convolution.weight /= std[:, None, None, None]
        norm, (running_mean, running_var) = self.norm, self._running()
        running_mean.copy_(mean / std)
        running_var.fill_(1.0)
        norm.weight.copy_(std)
        norm.bias.copy_(cast(torch.Tensor, plain.bias) + mean)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Return the plain convolution that is equivalent in eval mode.

        ``norm(W x) == (s W) x + (b - s m)`` with the running mean m and ``s = gamma / sqrt(variance + eps)``.
        """
        norm, (running_mean, running_var) = self.norm, self._running()
        scale = norm.weight / (running_var + norm.eps).sqrt()  # (C,)
        weight = self.convolution.weight
        plain = _shaped_like(self.convolution, bias=True).to(weight.device)
        plain.weight.copy_(weight * scale[:, None, None, None])
        cast(torch.Tensor, plain.bias).copy_(norm.bias - scale * running_mean)
        return channels_last(plain)

    def _running(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return running mean and variance, which are optional in torch's types."""
        return cast(torch.Tensor, self.norm.running_mean), cast(torch.Tensor, self.norm.running_var)


def _shaped_like(layer: nn.Conv2d, *, bias: bool) -> nn.Conv2d:
    """Return a convolution of the same shape with random weights."""
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    return nn.Conv2d(layer.in_channels, layer.out_channels, *shape, bias, layer.padding_mode)  # type: ignore[arg-type]


def plain_convolutions(trunk: nn.Module) -> Iterator[tuple[nn.Sequential, int, nn.Conv2d]]:
    """Yield each convolution without normalization as (sequence, position in it, convolution)."""
    for part in trunk.modules():
        if isinstance(part, nn.Sequential):
            for place, (layer, follower) in enumerate(pairwise(part)):
                if isinstance(layer, nn.Conv2d) and isinstance(follower, nn.ReLU) and layer.bias is not None:
                    yield part, place, layer


@torch.no_grad()
def normalize(trunk: nn.Module, rows: torch.Tensor) -> None:
    """Add batch normalization to a module's plain convolutions, in place; its output in eval mode does not change.

    Parameters
    ----------
    rows : Tensor (B, ...)
        Typical inputs of the module, for the initial statistics of the normalization.
    """
    found = list(plain_convolutions(trunk))
    inputs: dict[nn.Module, torch.Tensor] = {}
    hooks = [conv.register_forward_pre_hook(lambda conv, x: inputs.update({conv: x[0]})) for _, _, conv in found]
    trunk.eval()
    trunk(rows)
    for hook in hooks:
        hook.remove()
    for part, place, plain in found:
        layer = NormalizedConvolution(plain).to(plain.weight.device)
        layer.unfold(plain, inputs[plain])
        part[place] = channels_last(layer)


def fold(trunk: nn.Module) -> None:
    """Replace a module's normalized convolutions with equivalent plain ones, in place."""
    for part in list(trunk.modules()):
        if isinstance(part, nn.Sequential):
            for place, layer in enumerate(part):
                if isinstance(layer, NormalizedConvolution):
                    part[place] = layer.folded()
