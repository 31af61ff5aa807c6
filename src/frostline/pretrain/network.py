"""AlexNet's convolutions, batch-normalised while they learn and plain when they are done, with the heads that teach."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from frostline.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.networks import alexnet
from frostline.networks.backbone import Backbone
from frostline.pretrain.losses import SIDE, SKETCHES, Answers

STAGES = alexnet.STAGES[:5]
MAP = 3  # side of the map that the object head reads: what the last pooling leaves of a 128-pixel picture
DROPOUT = 0.2
FLAT = 1e-3  # least spread that a filter's answers are divided by
BLUR = 1.5  # standard deviation, in pixels, of the blur that conv1's first weights go through


@torch.no_grad()
def smooth_(weight: torch.Tensor) -> None:
    """Blur filters (n, channels, k, k) in place and fade them out towards their edges; their spread stays.

    Pixel noise that large filters start with is of no use to the losses and of no harm to them, so it stays in them
    for as long as weight decay takes; filters that start smooth end smooth.
    """
    spread, side = weight.std(), weight.shape[-1]
    away = torch.arange(side) - (side - 1) / 2
    bell = torch.exp(-(away**2) / (2 * BLUR**2))
    kernel = torch.outer(bell, bell)[None, None] / bell.sum() ** 2
    window = torch.hann_window(side + 2, periodic=False)[1:-1]
    blurred = functional.conv2d(weight.reshape(-1, 1, side, side), kernel, padding=side // 2).reshape_as(weight)
    blurred *= torch.outer(window, window)
    weight.copy_(blurred * (spread / blurred.std()))


class NormalisedConvolution(nn.Module):
    """A convolution, batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) and ReLU.

    Parameters
    ----------
    plain : nn.Conv2d
        Gives the shape; the weights are drawn anew (He et al. 2015). It has no bias: the normalisation brings one.
    """

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        kernel, stride, padding = plain.kernel_size[0], plain.stride[0], int(plain.padding[0])
        self.width = plain.out_channels
        self.convolution = nn.Conv2d(plain.in_channels, self.width, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(self.width)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return activations (n, width, H, W)."""
        return functional.relu(self.norm(self.convolution(x)), inplace=True)

    @torch.no_grad()
    def unfold(self, plain: nn.Conv2d, x: torch.Tensor) -> None:
        """Become what a plain convolution is, normalised by what it makes of x (n, channels, H, W): `folded` reversed.

        The filters are scaled so that their answers spread by 1, as He's initialisation would have it, and the
        normalisation scales them back.
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

    def folded(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight and bias of the plain convolution that does the same in eval mode.

        ``norm(W x) == (s W) x + (b - s m)`` with the running mean m and ``s = gamma / sqrt(variance + eps)``.
        """
        norm, (running_mean, running_var) = self.norm, self._running()
        scale = norm.weight / (running_var + norm.eps).sqrt()  # (width,)
        return self.convolution.weight * scale[:, None, None, None], norm.bias - scale * running_mean

    def _running(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return running mean and variance: this norm keeps them, though in general a norm may not."""
        return cast(torch.Tensor, self.norm.running_mean), cast(torch.Tensor, self.norm.running_var)


class Pretraining(nn.Module):
    """The five convolution stages and the heads that teach them.

    Parameters
    ----------
    objects, textures : int
        How many classes to tell apart; 0 objects: not asked.
    texture_stage : str
        The stage whose mean activation the texture head reads; the object head reads conv5's map.
    sketch_stages : tuple of str
        The stages that must know, linearly and in a 3 x 3 map, what the picture shows, the deepest last.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, objects: int, textures: int, texture_stage: str, sketch_stages: tuple[str, ...]) -> None:
        super().__init__()
        self.texture_stage = texture_stage
        self.stages = nn.ModuleDict()
        self.pools = nn.ModuleDict()
        widths = {}
        for name, stage in alexnet.build(STAGES[-1]).stages.items():
            for layer in stage.children():
                if isinstance(layer, nn.Conv2d):
                    self.stages[name] = NormalisedConvolution(layer)
                    widths[name] = layer.out_channels
                elif isinstance(layer, nn.MaxPool2d) and name != STAGES[-1]:
                    self.pools[name] = layer
        smooth_(self.stages[STAGES[0]].convolution.weight)  # type: ignore[union-attr, arg-type]
        numbers = len(SKETCHES) * SIDE**2
        self.object_head = (
            nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(widths[STAGES[-1]] * MAP**2, objects)) if objects else None
        )
        self.texture_head = nn.Linear(widths[texture_stage], textures)
        self.sketch_heads = nn.ModuleDict({name: nn.Linear(widths[name] * MAP**2, numbers) for name in sketch_stages})
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, pictures: torch.Tensor) -> Answers:
        """Return what the heads say of pictures (n, 3, side, side), 0 to 1."""
        x = self._standardised(pictures)
        read, maps = x, {}
        for name, stage in self.stages.items():
            x = stage(x)  # (n, C, H, W)
            if name == self.texture_stage:
                read = x.mean((2, 3))  # (n, C)
            if name in self.sketch_heads and name != STAGES[-1]:
                maps[name] = functional.adaptive_avg_pool2d(x, MAP).flatten(1)
            if name in self.pools:
                x = self.pools[name](x)
        # Adaptive: nothing to pool at 64 pixels, where the map is 3 x 3, and the published 3 / 2 pooling at 128.
        maps[STAGES[-1]] = functional.adaptive_max_pool2d(x, MAP).flatten(1)  # (n, 256 * MAP * MAP)
        return Answers(
            None if self.object_head is None else self.object_head(maps[STAGES[-1]]),
            self.texture_head(read),
            [head(maps[name]) for name, head in self.sketch_heads.items()],
        )

    def _standardised(self, pictures: torch.Tensor) -> torch.Tensor:
        return ((pictures - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def begin_with(self, backbone: Backbone, pictures: torch.Tensor) -> None:
        """Take over AlexNet's convolutions; pictures (n, 3, side, side), 0 to 1, set the normalisation.

        The heads stay as they are.
        """
        training = self.training
        self.eval()
        x = self._standardised(pictures)
        for name, stage in self.stages.items():
            plain = next(layer for layer in backbone.stages[name].modules() if isinstance(layer, nn.Conv2d))
            cast(NormalisedConvolution, stage).unfold(plain.to(x.device), x)
            x = stage(x)
            if name in self.pools:
                x = self.pools[name](x)
        self.train(training)

    @torch.no_grad()
    def plain_state(self) -> dict[str, torch.Tensor]:
        """Return the convolutions with batch normalisation folded in: float32, torchvision's keys."""
        state = {}
        for name, stage in self.stages.items():
            weight, bias = cast(NormalisedConvolution, stage).folded()
            state[f"{alexnet.LAYERS[name]}.weight"] = weight.cpu().contiguous()
            state[f"{alexnet.LAYERS[name]}.bias"] = bias.cpu()
        return state
