"""Networks of other packages: wherever they are cut, the two parts give what the package's own network gives."""

import pytest
import torch
from torch import nn

from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Frozen, Thawed, make_boundary
from frostline.models.external import PACKAGES
from frostline.models.registry import load_backbone
from tests.parity.measures import largest_gap

SIZES = {
    "timm:resnet18": 64,
    "timm:resnet50": 64,
    "timm:mobilenetv3_large_100": 64,
    "timm:efficientnet_b0": 64,
    "timm:convnext_tiny": 64,
    "timm:vit_small_patch16_224": 224,
    "torchvision:resnet18": 64,
    "torchvision:resnet50": 64,
    "torchvision:mobilenet_v3_large": 64,
    "torchvision:efficientnet_b0": 64,
    "torchvision:convnext_tiny": 64,
    "torchvision:swin_t": 64,
}
SEED = 3


def both(name: str) -> tuple[nn.Module, Backbone, torch.Tensor]:
    """The package's own network, ours with the same weights, and a batch for them."""
    package, inner = name.split(":")
    size = SIZES[name]
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    return PACKAGES[package].make(inner, SEED), load_backbone(name, "random", with_classifier=True, seed=SEED), x


@pytest.mark.parametrize("name", SIZES)
@torch.inference_mode()
def test_thawed_of_frozen_equals_the_network_at_every_boundary(name: str) -> None:
    network, backbone, x = both(name)
    expected = network(x)
    assert backbone.classifier is not None
    assert len(backbone.stage_names) >= 4
    for freeze in [NONE, *backbone.stage_names]:
        boundary = make_boundary(backbone, freeze, ())
        rows = Frozen(backbone, boundary)(x)
        cut = backbone.classifier(Thawed(backbone, boundary, SIZES[name]).eval()(rows))
        assert largest_gap(cut, expected) < 1e-5, freeze


@pytest.mark.parametrize("size", [64, 75])
@torch.inference_mode()
def test_thawed_of_frozen_equals_efficientnet_lite_at_every_boundary(size: int) -> None:
    backbone = load_backbone("efficientnet-lite0", "imagenet", with_classifier=True)
    assert backbone.classifier is not None
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    for freeze in [NONE, *backbone.stage_names]:
        boundary = make_boundary(backbone, freeze, ())
        rows = Frozen(backbone, boundary)(x)
        cut = backbone.classifier(Thawed(backbone, boundary, size).eval()(rows))
        assert largest_gap(cut, backbone(x)) < 1e-5, freeze


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:vit_small_patch16_224", "torchvision:swin_t"])
@torch.inference_mode()
def test_taps_read_the_same_wherever_the_boundary_lies(name: str) -> None:
    _, backbone, x = both(name)
    names = backbone.stage_names
    taps = (names[0], names[2], names[-1])
    closed = Frozen(backbone, make_boundary(backbone, names[-1], taps))(x)
    widths = [9 * 64, 9 * 128, 512] if name.endswith("resnet18") else None
    assert closed.shape[1] == (sum(widths) if widths else sum(_channels(backbone, x, tap) for tap in taps))
    for freeze in (NONE, names[0], names[1], names[2]):
        boundary = make_boundary(backbone, freeze, taps)
        read = Thawed(backbone, boundary, SIZES[name])(Frozen(backbone, boundary)(x))
        assert largest_gap(read, closed) < 1e-5, freeze


def _channels(backbone: Backbone, x: torch.Tensor, tap: str) -> int:
    """Tokens are averaged; maps (B, H, W, C) of Swin's come down to a 3 x 3 grid, unless they are smaller."""
    out = backbone.between(None, tap)(x)
    return out.shape[-1] * (min(out.shape[1], 3) ** 2 if out.ndim == 4 else 1)


def test_vision_transformers_head_reads_the_class_token() -> None:
    network, backbone, x = both("timm:vit_small_patch16_224")
    with torch.inference_mode():
        tokens = network.forward_features(x)
        read = backbone.between(None, backbone.feature_stage)(x)
    assert tokens.shape == (2, 197, 384)
    assert largest_gap(read, tokens[:, 0]) < 1e-6


@pytest.mark.parametrize("name", ["timm:resnet18", "timm:efficientnet_b0", "torchvision:mobilenet_v3_large"])
def test_batch_norm_of_frozen_stages_never_moves(name: str) -> None:
    backbone = load_backbone(name, "random", seed=SEED)
    middle = backbone.stage_names[2]
    boundary = make_boundary(backbone, middle, ())
    frozen, thawed = Frozen(backbone, boundary), Thawed(backbone, boundary, 64)
    before = {key: value.clone() for key, value in backbone.state_dict().items() if "running" in key}
    nn.ModuleList([frozen, thawed]).train()
    assert not any(module.training for module in frozen.modules())
    thawed(frozen(torch.rand(4, 3, 64, 64)))
    above = set(backbone.stage_names[3:])
    for key, value in backbone.state_dict().items():
        if key in before:
            assert torch.equal(value, before[key]) == (key.split(".")[1] not in above), key


def test_batch_norm_of_a_batch_of_one_keeps_to_what_it_knows() -> None:
    backbone = load_backbone("timm:resnet18", "random", seed=SEED)
    thawed = Thawed(backbone, make_boundary(backbone, NONE, ()), 32).train()
    state = {key: value.clone() for key, value in thawed.state_dict().items()}
    x = torch.rand(1, 3, 32, 32)  # layer4's maps are 1 x 1
    features = thawed(x)
    assert all(torch.equal(value, state[key]) for key, value in thawed.state_dict().items())
    assert all(module.training for module in thawed.modules() if isinstance(module, nn.BatchNorm2d))
    assert largest_gap(features.detach(), thawed.eval()(x).detach()) < 1e-6
