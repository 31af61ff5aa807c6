"""Batch normalization while convolutions learn: it goes in without changing what they do, and is folded away after."""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
from torch import nn

from frostline.models.backbone import channels_last

FLAT = 1e-3  # least spread that a filter's answers are divided by


class NormalizedConvolution(nn.Module):
    """A convolution and batch normalization (Ioffe & Szegedy 2015, arXiv:1502.03167).

    Parameters
    ----------
    plain : nn.Conv2d
        Gives the shape; the weights are drawn anew (He et al. 2015). It has no bias: the normalization brings one.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = _shaped_like(plain, bias=False)
        self.norm = nn.BatchNorm2d(plain.out_channels)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return normalized answers (n, width, H, W)."""
        answers: torch.Tensor = self.norm(self.convolution(x))
        return answers

    @torch.no_grad()
    def unfold(self, plain: nn.Conv2d, x: torch.Tensor) -> None:
        """Become what a plain convolution is, normalized by what it makes of x (n, channels, H, W): `folded` reversed.

        The filters are scaled so that their answers spread by 1, as He's initialization would have it, and the
        normalization scales them back.
        """
        self.convolution.weight.copy_(plain.weight)
        answers = self.convolution(x)
        spread = answers.std((0, 2, 3)).clamp_min(FLAT)  # (width,)
        mean = answers.mean((0, 2, 3))
        self.convolution.weight /= spread[:, None, None, None]
        norm, (running_mean, running_var) = self.norm, self._running()
        running_mean.copy_(mean / spread)
        running_var.fill_(1.0)
        norm.weight.copy_(spread)
        norm.bias.copy_(cast(torch.Tensor, plain.bias) + mean)

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Return the plain convolution that does the same in eval mode.

        ``norm(W x) == (s W) x + (b - s m)`` with the running mean m and ``s = gamma / sqrt(variance + eps)``.
        """
        norm, (running_mean, running_var) = self.norm, self._running()
        scale = norm.weight / (running_var + norm.eps).sqrt()  # (width,)
        ours = self.convolution
        plain = _shaped_like(ours, bias=True).to(ours.weight.device)
        plain.weight.copy_(ours.weight * scale[:, None, None, None])
        cast(torch.Tensor, plain.bias).copy_(norm.bias - scale * running_mean)
        return channels_last(plain)

    def _running(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return running mean and variance: this norm keeps them, though in general a norm may not."""
        return cast(torch.Tensor, self.norm.running_mean), cast(torch.Tensor, self.norm.running_var)


def _shaped_like(layer: nn.Conv2d, *, bias: bool) -> nn.Conv2d:
    """Return a convolution of the same shape; its weights are drawn."""
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    return nn.Conv2d(layer.in_channels, layer.out_channels, *shape, bias, layer.padding_mode)  # type: ignore[arg-type]


def plain_convolutions(trunk: nn.Module) -> Iterator[tuple[nn.Sequential, int, nn.Conv2d]]:
    """Yield each convolution that nothing normalizes, with the sequence it stands in and its place there."""
    for part in trunk.modules():
        if isinstance(part, nn.Sequential):
            for place, (layer, follower) in enumerate(pairwise(part)):
                if isinstance(layer, nn.Conv2d) and isinstance(follower, nn.ReLU) and layer.bias is not None:
                    yield part, place, layer


@torch.no_grad()
def normalize(trunk: nn.Module, rows: torch.Tensor) -> None:
    """Put batch normalization after a module's plain convolutions, in place; in eval mode it computes what it did.

    Parameters
    ----------
    rows : Tensor (B, ...)
        What the module reads: typical ones set the normalization's first mean and spread.
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
    """Make plain convolutions of a module's normalized ones again, in place, as eval mode computes them."""
    for part in list(trunk.modules()):
        if isinstance(part, nn.Sequential):
            for place, layer in enumerate(part):
                if isinstance(layer, NormalizedConvolution):
                    part[place] = layer.folded()
