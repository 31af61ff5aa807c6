"""AlexNet's convolutions with batch normalization, and the heads of the pre-training losses."""

from typing import cast

import torch
from torch import nn
from torch.nn import functional

from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.models import alexnet
from frostline.models.backbone import Backbone
from frostline.models.batch_norm import NormalizedConvolution
from tools.pretraining.losses import SIDE, SKETCHES, Outputs

STAGES = alexnet.STAGES[:5]
MAP = 3  # side of the map that the object head reads: the output of the last pooling for a 128-pixel image
DROPOUT = 0.2
BLUR = 1.5  # standard deviation, in pixels, of the blur of conv1's initial weights


@torch.no_grad()
def smooth_(weight: torch.Tensor) -> None:
    """Blur filters (n, channels, k, k) in place and fade out their edges, with an unchanged standard deviation.

    The losses do not remove the initial pixel noise of large filters, and weight decay does so slowly; filters that
    start smooth end smooth.
    """
    std, side = weight.std(), weight.shape[-1]
    away = torch.arange(side) - (side - 1) / 2
    bell = torch.exp(-(away**2) / (2 * BLUR**2))
    kernel = torch.outer(bell, bell)[None, None] / bell.sum() ** 2
    window = torch.hann_window(side + 2, periodic=False)[1:-1]
    blurred = functional.conv2d(weight.reshape(-1, 1, side, side), kernel, padding=side // 2).reshape_as(weight)
    blurred *= torch.outer(window, window)
    weight.copy_(blurred * (std / blurred.std()))


class Pretraining(nn.Module):
    """The five convolution stages and the heads that train them.

    Parameters
    ----------
    objects, textures : int
        Numbers of classes; 0 objects for no object head.
    texture_stage : str
        The stage whose mean activation the texture head reads; the object head reads conv5's map.
    sketch_stages : tuple of str
        The stages from whose 3 x 3 maps linear heads sketch the image, the deepest last.
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
                    self.stages[name] = NormalizedConvolution(layer)
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

    def forward(self, images: torch.Tensor) -> Outputs:
        """Return the outputs of all heads for images (n, 3, side, side), 0 to 1."""
        x = self._standardized(images)
        texture, maps = x, {}
        for name, stage in self.stages.items():
            x = functional.relu(stage(x), inplace=True)  # (n, C, H, W)
            if name == self.texture_stage:
                texture = x.mean((2, 3))  # (n, C)
            if name in self.sketch_heads and name != STAGES[-1]:
                maps[name] = functional.adaptive_avg_pool2d(x, MAP).flatten(1)
            if name in self.pools:
                x = self.pools[name](x)
        # Adaptive: the identity at 64 pixels, where the map is 3 x 3, and the published 3 / 2 pooling at 128.
        maps[STAGES[-1]] = functional.adaptive_max_pool2d(x, MAP).flatten(1)  # (n, 256 * MAP * MAP)
        return Outputs(
            None if self.object_head is None else self.object_head(maps[STAGES[-1]]),
            self.texture_head(texture),
            [head(maps[name]) for name, head in self.sketch_heads.items()],
        )

    def _standardized(self, images: torch.Tensor) -> torch.Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def take_over(self, backbone: Backbone, images: torch.Tensor) -> None:
        """Take over AlexNet's convolutions; images (n, 3, side, side), 0 to 1, initialize the normalization."""
        training = self.training
        self.eval()
        x = self._standardized(images)
        for name, stage in self.stages.items():
            plain = next(layer for layer in backbone.stages[name].modules() if isinstance(layer, nn.Conv2d))
            cast(NormalizedConvolution, stage).unfold(plain.to(x.device), x)
            x = functional.relu(stage(x), inplace=True)
            if name in self.pools:
                x = self.pools[name](x)
        self.train(training)

    @torch.no_grad()
    def plain_state(self) -> dict[str, torch.Tensor]:
        """Return the convolutions with batch normalization folded in: float32, torchvision's keys."""
        state = {}
        for name, stage in self.stages.items():
            plain = cast(NormalizedConvolution, stage).folded().cpu()
            state[f"{alexnet.LAYERS[name]}.weight"] = plain.weight.detach().contiguous()
            state[f"{alexnet.LAYERS[name]}.bias"] = cast(torch.Tensor, plain.bias).detach()
        return state
