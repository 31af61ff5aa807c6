"""The fast pass through frozen stages: the same numbers as the plain forward pass, to rounding, in less time.

Three things that change nothing but the time:

- What is linear is folded into the first convolution: the scale to 0..1, the division by std, and for gray images the
  sum over three equal channels. The mean does not fold into the bias, because the zero padding lies outside of it; it
  becomes one constant map that is added.
- For gray images a strided first convolution becomes a dense one: each stride x stride block of pixels becomes a stack
  of channels (11x11 stride 4 on 1 channel = 3x3 stride 1 on 16), which vectorizes.
- ReLU and max pooling commute, so ReLU comes after the pooling, on a quarter of the numbers.

They need stages whose layers stand in a row, as AlexNet's do; other networks' stages run as they are, channels last.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline.data.preprocess import Preprocess
from frostline.models.backbone import channels_last
from frostline.models.boundary import Frozen, Step, run_stages


class FastForward:
    """The frozen stages of a network as a function from pixels to features.

    Parameters
    ----------
    frozen : Frozen
        Stages below the boundary.
    preprocess : Preprocess
        Folded in where the first layer allows.
    device : torch.device
        Where to compute.

    Notes
    -----
    Agrees with ``frozen(preprocess.normalize(pixels))`` within 1e-4 of the largest feature (float32 rounding; tested
    in ``tests/parity``).
    """

    def __init__(self, frozen: Frozen, preprocess: Preprocess, device: torch.device) -> None:
        self.frozen = channels_last(frozen, device)
        self.preprocess = preprocess
        self.device = device
        self._stems: dict[int, Step] = {}
        self._rest: dict[str, list[Step]] = {}
        self._first = self._foldable()
        for number, (name, stage) in enumerate(self.frozen.stages.items()):
            self._rest[name] = [stage]
            if isinstance(stage, nn.Sequential):
                layers = [layer for layer in stage if not isinstance(layer, nn.Dropout)]
                self._rest[name] = _pool_before_relu(layers[1:] if number == 0 and self._first else layers)

    def _foldable(self) -> nn.Conv2d | None:
        """Return the first layer when it is a convolution that preprocessing can be folded into."""
        stage = next(iter(self.frozen.stages.values()), None)
        layer = next(iter(stage), None) if isinstance(stage, nn.Sequential) else None
        if not isinstance(layer, nn.Conv2d) or not isinstance(layer.padding, tuple):
            return None
        plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
        return layer if plain else None

    @property
    def is_folded(self) -> bool:
        """Whether preprocessing is folded into the first convolution: torch then runs about as fast as any engine."""
        return self._first is not None

    @property
    def batch_size(self) -> int:
        """Images per step: few enough that a batch's maps stay in the processor's cache."""
        if self.device.type != "cpu":
            return 256
        return 32 if self.preprocess.image_size > 160 else 64

    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of one row, found with an empty image."""
        side = self.preprocess.image_size
        return tuple(self(torch.zeros(1, 3, side, side)).shape[1:])

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features (B, ...) float32 for resized pixels 0..255, (B, 1, S, S) or (B, 3, S, S)."""
        return self.run(pixels)

    def run(self, pixels: torch.Tensor) -> torch.Tensor:
        """Do what `__call__` does, in the caller's grad mode: for tracing."""
        x = pixels.to(self.device)
        stages = dict(self._rest)
        if self._first is None:
            x = self.preprocess.normalize(x).contiguous(memory_format=torch.channels_last)
        else:
            name = next(iter(stages))
            stages[name] = [self._stem(self._first, x.shape[1]), *stages[name]]
        return run_stages(x, stages, self.frozen.boundary, self.frozen.row_stages)

    def _stem(self, conv: nn.Conv2d, channels: int) -> Step:
        if channels not in self._stems:
            self._stems[channels] = _FoldedStem(conv, self.preprocess, channels, self.device)
        return self._stems[channels]


def _pool_before_relu(layers: list[nn.Module]) -> list[Step]:
    """Return the layers as steps, each max pooling before the ReLU that it follows."""
    steps: list[Step] = list(layers)
    for i, (layer, after) in enumerate(pairwise(layers)):
        if isinstance(layer, nn.ReLU) and isinstance(after, nn.MaxPool2d):
            steps[i], steps[i + 1] = after, layer
    return [F.relu_ if isinstance(step, nn.ReLU) else step for step in steps]


class _FoldedStem:
    """``conv(normalize(pixels))`` in one convolution over pixels 0..255, plus a constant map."""

    def __init__(self, conv: nn.Conv2d, preprocess: Preprocess, channels: int, device: torch.device) -> None:
        mean = torch.tensor(preprocess.mean, device=device)[:, None, None]  # (3, 1, 1)
        std = torch.tensor(preprocess.std, device=device)[:, None, None]  # (3, 1, 1)
        size = preprocess.image_size
        with torch.inference_mode():
            weight = conv.weight / (255 * std)  # (O, 3, K, K)
            # What the mean alone contributes; differs from a bias only where the kernel reaches into the padding.
            mean_map = (-mean / std).expand(3, size, size)[None]  # (1, 3, S, S)
            self.constant = F.conv2d(mean_map, conv.weight, conv.bias, conv.stride, conv.padding)  # (1, O, h, w)
            self.constant = self.constant.contiguous(memory_format=torch.channels_last)
            self.blocks = conv.stride[0] if channels == 1 and _square(conv) else 1
            self.stride, self.padding = conv.stride, conv.padding
            if channels == 1:
                weight = weight.sum(1, keepdim=True)  # (O, 1, K, K)
            if self.blocks > 1:
                weight = self._as_blocks(weight, size)
        self.weight = weight.contiguous(memory_format=torch.channels_last)

    def _as_blocks(self, weight: torch.Tensor, size: int) -> torch.Tensor:
        """Rewrite a K x K kernel of stride s as a dense one over s x s blocks, and plan the padding to go with it."""
        s, p = self.blocks, int(self.padding[0])
        kernel = -(-weight.shape[-1] // s)  # blocks per side of the kernel
        fill = kernel * s - weight.shape[-1]
        outputs = self.constant.shape[-1]
        # Pad left and top as the convolution does; right and bottom so that whole blocks cover the last output.
        self.margin = (p, (outputs - 1 + kernel) * s - size - p)
        self.stride, self.padding = (1, 1), (0, 0)
        return F.pixel_unshuffle(F.pad(weight, (0, fill, 0, fill)), s)  # (O, s*s, kernel, kernel)

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.blocks > 1:
            padded = F.pad(pixels, (*self.margin, *self.margin))
            pixels = F.pixel_unshuffle(padded, self.blocks)  # (B, s*s, h, w)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return F.conv2d(pixels, self.weight, None, self.stride, self.padding).add_(self.constant)


def _square(conv: nn.Conv2d) -> bool:
    same = [conv.kernel_size, conv.stride, conv.padding]
    return all(pair[0] == pair[1] for pair in same) and conv.stride[0] > 1
