"""Preprocessing is as specified, and equal to independent implementations."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD, VERSION, Preprocess

RNG = np.random.default_rng(11)


def random_pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("side", "size"), [(100, 64), (65, 64), (126, 64), (28, 64), (28, 128), (64, 64)])
def test_resize_equals_torch_with_antialiasing(side: int, size: int) -> None:
    images = random_pixels(3, side, side)
    expected = interpolate(torch.from_numpy(images).float()[:, None], (size, size), mode="bilinear", antialias=True)
    torch.testing.assert_close(Preprocess(size).resize(images), expected)


@pytest.mark.parametrize(("side", "size"), [(120, 64), (90, 70), (28, 64)])
def test_resize_equals_pillow_on_real_numbers(side: int, size: int) -> None:
    image = random_pixels(side, side)
    theirs = Image.fromarray(image.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(Preprocess(size).resize(image[None])[0, 0].numpy(), np.asarray(theirs), atol=0.01)


@pytest.mark.parametrize(("side", "factor"), [(128, 2), (252, 2), (300, 4), (1104, 16)])
def test_large_images_are_halved_first(side: int, factor: int) -> None:
    image = random_pixels(side, side)
    blocks = image.reshape(side // factor, factor, side // factor, factor).mean((1, 3))
    theirs = Image.fromarray(blocks.astype(np.float32)).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(Preprocess(64).resize(image[None])[0, 0].numpy(), np.asarray(theirs), atol=0.6)


@pytest.mark.parametrize("size", [29, 64, 128])
def test_enlarging_equals_plain_bilinear(size: int) -> None:
    images = random_pixels(2, 28, 28)
    expected = interpolate(torch.from_numpy(images).float()[:, None], (size, size), mode="bilinear")
    torch.testing.assert_close(Preprocess(size).resize(images), expected, atol=1e-3, rtol=0)


def test_nothing_is_rounded_back_to_bytes() -> None:
    resized = Preprocess(64).resize(random_pixels(1, 28, 28))
    assert (resized != resized.round()).float().mean() > 0.5


def test_right_size_is_left_as_it_is() -> None:
    images = random_pixels(2, 70, 70, 3)
    np.testing.assert_array_equal(Preprocess(70).resize(images).numpy(), np.moveaxis(images, -1, 1))


@pytest.mark.parametrize(("height", "width"), [(70, 140), (140, 70), (70, 71), (70, 2000)])
def test_longer_side_is_cropped_at_the_center(height: int, width: int) -> None:
    image = random_pixels(height, width)
    top, left = (height - 70) // 2, (width - 70) // 2
    resized = Preprocess(70).resize(image[None])
    np.testing.assert_array_equal(resized[0, 0].numpy(), image[top : top + 70, left : left + 70])


@pytest.mark.parametrize("shape", [(33, 517), (517, 33), (101, 102), (1, 40), (64, 65, 3), (2, 2, 3), (1, 90_000)])
def test_any_shape_gives_a_square(shape: tuple[int, ...]) -> None:
    channels = 3 if len(shape) == 3 else 1
    assert Preprocess(64).resize(random_pixels(*shape)[None]).shape == (1, channels, 64, 64)
    assert Preprocess(64)(random_pixels(*shape)[None]).shape == (1, 3, 64, 64)


def test_list_of_grays_stays_one_channel() -> None:
    assert Preprocess(64).resize([random_pixels(28, 28), random_pixels(90, 100)]).shape == (2, 1, 64, 64)


def test_gray_among_colors_is_repeated() -> None:
    gray, color = random_pixels(28, 28), random_pixels(50, 40, 3)
    mixed = Preprocess(64).resize([gray, color])
    assert mixed.shape == (2, 3, 64, 64)
    torch.testing.assert_close(mixed[0], Preprocess(64).resize(gray[None])[0].expand(3, -1, -1))
    torch.testing.assert_close(mixed[1], Preprocess(64).resize(color[None])[0])


def test_list_gives_what_the_array_gives() -> None:
    images = random_pixels(3, 28, 28)
    torch.testing.assert_close(Preprocess(64)(list(images)), Preprocess(64)(images))


def test_values_are_scaled_and_standardized() -> None:
    pixels = torch.tensor([0.0, 51.0, 255.0]).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    out = Preprocess(2).normalize(pixels)
    for row, value in enumerate((0.0, 0.2, 1.0)):
        for channel in range(3):
            expected = (value - IMAGENET_MEAN[channel]) / IMAGENET_STD[channel]
            assert out[row, channel].flatten().tolist() == pytest.approx([expected] * 4, abs=1e-6)


def test_colors_are_not_mixed_up() -> None:
    red = np.zeros((1, 64, 64, 3), np.uint8)
    red[..., 0] = 255
    out = Preprocess(64, mean=(0, 0, 0), std=(1, 1, 1))(red)
    assert out[0].mean((1, 2)).tolist() == [1, 0, 0]


def test_images_are_left_untouched() -> None:
    images = random_pixels(2, 64, 64)
    before = images.copy()
    Preprocess(64)(images)
    np.testing.assert_array_equal(images, before)


def test_spec_survives_json() -> None:
    spec = Preprocess(96, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    assert Preprocess.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.to_dict()["image_size"] == 96


def test_spec_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match=f"^preprocessing of version 1, this Frostline has {VERSION}$"):
        Preprocess.from_dict({**Preprocess(96).to_dict(), "version": 1})
