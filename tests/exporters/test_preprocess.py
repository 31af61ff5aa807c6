"""Raw bytes to the network's input with tensors alone: the same as preprocessing itself, for every size and shape."""

import numpy as np
import pytest
import torch

from frostline.data.decoding.target import FITS
from frostline.data.preprocess import Preprocess
from frostline.exporters.exportable_model import TensorPreprocess

SIDE = 33
SHAPES = [
    (1, 1),
    (1, 90),
    (28, 28),
    (33, 33),
    (32, 34),
    (65, 65),
    (66, 66),
    (67, 131),
    (132, 132),
    (133, 300),
    (1200, 40),
    (200, 1000),
    (601, 535),
]
GRAY_LEVEL = 1 / 255 / 0.229


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_does_what_preprocessing_does(shape: tuple[int, int], fit: str, interpolation: str) -> None:
    preprocess = Preprocess(SIDE, interpolation=interpolation, fit=fit)
    images = np.random.default_rng(sum(shape)).integers(0, 256, (3, *shape, 3), dtype=np.uint8)
    pixels = TensorPreprocess(preprocess)
    for part, given in ((images, images), (images[..., :1], images[..., 0])):
        found, expected = pixels(torch.from_numpy(part)), preprocess(given)
        assert found.shape == (3, 3, SIDE, SIDE)
        assert (found - expected).abs().max() < 2e-3 * GRAY_LEVEL


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_than_gray_and_rgb_are_refused(channels: int) -> None:
    with pytest.raises((IndexError, RuntimeError), match=r"(?i)out of .*bounds|out of range"):
        TensorPreprocess(Preprocess(SIDE))(torch.zeros(1, 40, 40, channels, dtype=torch.uint8))
