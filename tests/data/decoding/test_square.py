"""What a network sees of an image: halved as long as it stays large enough, then the center."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.decoding.decode import center_square, center_squares, decode_image, halved_by

RNG = np.random.default_rng(5)


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth image in color with some noise of a sensor, (H, W, 3)."""
    parts = [
        Image.fromarray(RNG.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for n in (4, 12, 40)
    ]
    image = sum(np.asarray(part, np.float64) * weight for part, weight in zip(parts, (0.5, 0.3, 0.2), strict=True))
    return np.clip(image + RNG.normal(size=image.shape), 0, 255).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("size", "factor"),
    [((640, 480), 2), ((447, 500), 2), ((446, 500), 1), ((28, 28), 1), ((1, 9000), 1), ((4000, 6000), 16)],
)
def test_halved_while_both_sides_stay_large_enough(size: tuple[int, int], factor: int) -> None:
    assert halved_by(*size, 224) == factor


def test_a_image_is_halved_to_one_pixel_and_no_further():
    assert [halved_by(width, 9, 1) for width in (1, 2, 8, 9)] == [1, 2, 8, 16]


@pytest.mark.parametrize("shape", [(480, 640), (447, 894), (895, 1000, 3), (64, 65), (9, 400, 3), (226, 224)])
@pytest.mark.parametrize("side", [64, 224])
def test_a_square_goes_through_unchanged(shape: tuple[int, ...], side: int) -> None:
    square = np.asarray(center_square(Image.fromarray(RNG.integers(0, 256, shape, dtype=np.uint8)), side))
    assert square.shape[0] == square.shape[1] < 2 * side
    assert min(*shape[:2], side) <= len(square)
    np.testing.assert_array_equal(center_square(Image.fromarray(square), side), square)
    np.testing.assert_array_equal(center_squares(square[None], side)[0], square)


@pytest.mark.parametrize("shape", [(480, 640), (447, 894, 3), (65, 64)])
def test_files_without_loss_give_what_their_pixels_give(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    decoded = decode_image(encoded(Image.fromarray(pixels), "PNG"), 100)
    np.testing.assert_array_equal(decoded, center_squares(pixels[None], 100)[0])


@pytest.mark.parametrize("size", [(640, 480), (895, 899), (3700, 2500)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_halved_nearly_as_its_pixels_are(size: tuple[int, int], options: dict[str, object]) -> None:
    data = encoded(Image.fromarray(photograph(size[1], size[0])), "JPEG", quality=90, **options)
    quick, whole = decode_image(data, 224), center_squares(decode_image(data)[None], 224)[0]
    assert quick.shape == whole.shape
    assert np.abs(quick.astype(int) - whole).mean() < 1.5


def test_a_jpeg_that_lies_on_its_side_is_turned_and_halved(tmp_path: Path) -> None:
    pixels = photograph(480, 640)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(encoded(Image.fromarray(pixels), "JPEG", exif=exif), 200)
    straight = decode_image(encoded(Image.fromarray(pixels), "JPEG"), 200)
    np.testing.assert_array_equal(turned, np.rot90(straight, -1))
