import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.data.dataset import Splits
from frostline.data.preprocess import Preprocess
from frostline.features.forward import FastForward
from frostline.models.alexnet import STAGES
from frostline.models.backbone import Backbone
from frostline.models.boundary import NONE, Frozen, make_boundary
from tests.parity.measures import largest_gap

CONVOLUTIONS = STAGES[:5]
TOLERANCE = 1e-5  # relative to the largest activation; float32 rounding alone is about 2e-6


def real_images(fashion: Splits, channels: int, count: int = 3) -> np.ndarray:
    """Return real images; in color, three different ones make the channels."""
    images = np.asarray(fashion.train.images)
    if channels == 1:
        return images[:count]
    return np.stack([images[i * count : (i + 1) * count] for i in range(3)], axis=-1)


@torch.inference_mode()
def gap(
    backbone: Backbone,
    device: torch.device,
    images: np.ndarray,
    size: int,
    freeze: str,
    taps: tuple[str, ...] = (),
) -> float:
    """Return how far the fast pass is from the plain one."""
    frozen = Frozen(backbone, make_boundary(backbone, freeze, taps))
    preprocess = Preprocess(size)
    fast = FastForward(frozen, preprocess, device)
    return largest_gap(fast(preprocess.resize(images)), frozen(preprocess(images).to(device)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("freeze", [NONE, *STAGES])
def test_fast_equals_plain_at_every_boundary(
    fashion: Splits, backbone: Backbone, device: torch.device, freeze: str, channels: int
) -> None:
    assert gap(backbone, device, real_images(fashion, channels), 64, freeze) < TOLERANCE


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [63, 65, 66, 67, 95, 128, 224])
def test_fast_equals_plain_at_every_size(
    fashion: Splits, backbone: Backbone, device: torch.device, size: int, channels: int
) -> None:
    images = real_images(fashion, channels)
    assert gap(backbone, device, images, size, "conv1") < TOLERANCE
    assert gap(backbone, device, images, size, "conv5") < TOLERANCE


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("taps", [CONVOLUTIONS, ("conv2", "conv3", "conv5"), ("conv1",), STAGES])
def test_fast_equals_plain_with_taps(
    fashion: Splits, backbone: Backbone, device: torch.device, taps: tuple[str, ...], channels: int
) -> None:
    for size in (64, 95):
        assert gap(backbone, device, real_images(fashion, channels), size, taps[-1], taps) < TOLERANCE


@pytest.mark.parametrize("value", [0, 255])
def test_fast_equals_plain_on_blank_images(backbone: Backbone, device: torch.device, value: int) -> None:
    # The zero padding is where folding the mean into a bias would go wrong; blank images show nothing else.
    blank = np.full((2, 80, 80), value, np.uint8)
    assert gap(backbone, device, blank, 80, "conv1") < TOLERANCE
    assert gap(backbone, device, np.repeat(blank[..., None], 3, -1), 80, "conv1") < TOLERANCE


@settings(max_examples=40, deadline=None, derandomize=True)
@given(size=st.integers(63, 130), color=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_fast_equals_plain_at_odd_sizes(
    backbone: Backbone, device: torch.device, size: int, color: bool, seed: int
) -> None:
    shape = (2, size, size, 3) if color else (2, size, size)
    noise = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    assert gap(backbone, device, noise, size, "conv2") < TOLERANCE


@torch.inference_mode()
def test_another_mean_and_spread_are_folded_too(fashion: Splits, backbone: Backbone, device: torch.device) -> None:
    frozen = Frozen(backbone, make_boundary(backbone, "conv2", ()))
    preprocess = Preprocess(71, mean=(0.1, 0.9, 0.3), std=(0.5, 0.1, 1.5))
    fast = FastForward(frozen, preprocess, device)
    for channels in (1, 3):
        images = real_images(fashion, channels)
        assert largest_gap(fast(preprocess.resize(images)), frozen(preprocess(images).to(device))) < TOLERANCE


@torch.inference_mode()
def test_gray_and_its_three_equal_channels_give_the_same(
    fashion: Splits, backbone: Backbone, device: torch.device
) -> None:
    gray = real_images(fashion, 1)
    frozen = Frozen(backbone, make_boundary(backbone, "conv3", ()))
    fast = FastForward(frozen, Preprocess(64), device)
    color = fast(fast.preprocess.resize(np.repeat(gray[..., None], 3, -1)))
    assert largest_gap(fast(fast.preprocess.resize(gray)), color) < TOLERANCE
