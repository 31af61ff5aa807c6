"""AlexNet, the torchvision variant: one tower, no local response normalization.

Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997. 61,100,840
parameters with its 1000-class head; ImageNet top-1 / top-5 of torchvision's weights: 56.522 / 79.066 %.
"""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from frostline.models.backbone import Backbone, Intake
from frostline.models.published import PublishedFile
from frostline.models.weights import Network, Offer

NAME = "alexnet"
STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
FEATURE_STAGE = "conv5"
USUAL_TAPS = STAGES[:5]  # bench/taps.py
MIN_IMAGE_SIZE = 63
IMAGENET_CLASSES = 1000
IMAGENET = PublishedFile(
    ("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",), "alexnet-owt-7be5be79.pth", "7be5be79"
)
LICENSE = (
    "ImageNet weights as torchvision publishes them. torchvision's code is under the BSD 3-clause license; for the "
    "weights themselves no license of their own is stated. They were learned from ImageNet, whose terms of access "
    "allow non-commercial research and education; whether those terms bind weights is not known here: check before "
    "commercial use."
)
BUNDLED = Path(__file__).parent / "bundled" / "alexnet.safetensors"  # the convolutions; see the card beside it

# Prefixes of each layer's tensors in torchvision's state dict.
LAYERS = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "fc8": "classifier.6",
}


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1, pool: bool = False) -> nn.Sequential:
    padding = 2 if kernel >= 5 else 1
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU()]
    return nn.Sequential(*layers, nn.MaxPool2d(3, 2)) if pool else nn.Sequential(*layers)


def _stages() -> list[nn.Sequential]:
    fc6, fc7 = nn.Linear(256 * 6 * 6, 4096), nn.Linear(4096, 4096)
    return [
        _conv(3, 64, 11, stride=4, pool=True),
        _conv(64, 192, 5, pool=True),
        _conv(192, 384, 3),
        _conv(384, 256, 3),
        _conv(256, 256, 3, pool=True),
        nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), fc6, nn.ReLU()),
        nn.Sequential(nn.Dropout(), fc7, nn.ReLU()),
    ]


def build(last: str | None = None, *, with_classifier: bool = False, seed: int | None = None) -> Backbone:
    """Build AlexNet's stages up to and including ``last``.

    Parameters
    ----------
    last : str
        ``fc7`` by default; the fully connected stages take 218 MB.
    with_classifier : bool
        Also build the 1000-class head; needs ``last="fc7"``.
    seed : int, optional
        Seed of the values; without it the network is on torch's meta device, without memory or values.
    """
    with torch.device("meta"):
        stages = list(zip(STAGES, _stages(), strict=True))[: STAGES.index(last or "fc7") + 1]
        head = nn.Linear(4096, IMAGENET_CLASSES) if with_classifier else None
    backbone = Backbone(
        NAME,
        stages,
        min_image_size=MIN_IMAGE_SIZE,
        feature_stage=FEATURE_STAGE,
        usual_taps=USUAL_TAPS,
        classifier=head,
        intake=Intake(any_size=True),
    )
    if seed is not None:
        backbone.to_empty(device="cpu")
        _draw(backbone, seed)
    return backbone


def _draw(backbone: Backbone, seed: int) -> None:
    """Initialize as in He et al. 2015 (arXiv:1502.01852), normal, fan in, gain of ReLU; each stage has its own seed."""
    for index, part in enumerate([*backbone.stages.values(), *filter(None, [backbone.classifier])]):
        stream = torch.Generator().manual_seed((seed * 1009 + index) % 2**63)
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=stream)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def published_key(key: str) -> str:
    """Map a key of our state dict (``stages.conv1.0.weight``) to torchvision's."""
    parts = key.split(".")
    layer = LAYERS["fc8"] if parts[0] == "classifier" else LAYERS[parts[1]]
    return f"{layer}.{parts[-1]}"


NETWORK = Network(
    NAME,
    partial(build, with_classifier=True),
    build,
    published_key,
    Offer(NAME, "imagenet", IMAGENET, BUNDLED, "random (He-initialized) weights", LICENSE),
)
