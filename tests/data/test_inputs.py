"""Images in every form that a caller may pass, and the errors for unsupported ones."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from frostline.data.decoding.target import Target
from frostline.data.inputs import as_images, read_pixels
from frostline.errors import DataError

RNG = np.random.default_rng(1)
COLOR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
GRAY = COLOR[..., 0]


def read(images: Any, side: int | None = None) -> list[np.ndarray]:
    return list(read_pixels(as_images(images), side and Target(side)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize(
    "form", [str, Path, lambda path: path.read_bytes(), lambda path: io.BytesIO(path.read_bytes())]
)
def test_one_file_is_one_image(path: Path, form: Any) -> None:
    (found,) = read(form(path))
    np.testing.assert_array_equal(found, COLOR)


@pytest.mark.parametrize(
    "form",
    [
        lambda path: [path, str(path)],
        lambda path: (one for one in [path, path]),
        lambda path: {path: 1, str(path): 2}.keys(),
        lambda path: pd.Series([str(path)] * 2, index=[7, 3]),
        lambda path: np.array([str(path)] * 2),
        lambda path: np.array([[path], [path]], object),
        lambda path: [path, COLOR],
        lambda path: [Image.open(path), COLOR.tolist() and COLOR],
        lambda path: iter([COLOR, Image.fromarray(COLOR)]),
        lambda path: np.stack([COLOR, COLOR]),
        lambda path: torch.from_numpy(np.stack([COLOR, COLOR])),
    ],
)
def test_many_are_many(path: Path, form: Any) -> None:
    first, second = read(form(path))
    np.testing.assert_array_equal(first, COLOR)
    np.testing.assert_array_equal(second, COLOR)


@pytest.mark.parametrize("array", [COLOR, GRAY, GRAY[..., None], COLOR[:, :3]], ids=["RGB", "gray", "one", "N33"])
def test_one_array_is_one_image(array: np.ndarray) -> None:
    (found,) = read(array)
    np.testing.assert_array_equal(found, array[..., 0] if array.shape[-1] == 1 else array)


def test_batches_are_kept() -> None:
    assert [one.shape for one in read(np.stack([GRAY] * 2))] == [(6, 9)] * 2
    assert [one.shape for one in read(np.stack([GRAY[..., None]] * 3))] == [(6, 9)] * 3
    assert [one.shape for one in read(np.zeros((2, 6, 9, 4), np.uint8))] == [(6, 9, 3)] * 2
    assert read([]) == []
    assert read(np.empty((0, 28, 28), np.uint8)) == []
    assert read(pd.Series([], dtype=object)) == []


def test_transparency_is_laid_on_white() -> None:
    (found,) = read(np.dstack([COLOR, np.zeros((6, 9), np.uint8)]))
    assert (found == 255).all()


def images() -> dict[str, tuple[Image.Image, np.ndarray]]:
    rgb = Image.fromarray(COLOR)
    deep = (GRAY.astype(np.uint16) << 8) + 7
    turned = Image.fromarray(COLOR)
    turned.getexif()[0x0112] = 6
    palette = rgb.quantize(16)
    return {
        "1": (Image.fromarray(GRAY > 99), (GRAY > 99) * np.uint8(255)),
        "L": (Image.fromarray(GRAY), GRAY),
        "P": (palette, np.asarray(palette.convert("RGB"))),
        "HSV": (rgb.convert("HSV"), np.asarray(rgb.convert("HSV").convert("RGB"))),
        "CMYK": (rgb.convert("CMYK"), COLOR),
        "LA": (Image.merge("LA", [Image.fromarray(GRAY), Image.new("L", (9, 6), 255)]), np.dstack([GRAY] * 3)),
        "RGBA": (Image.merge("RGBA", [*rgb.split(), Image.new("L", (9, 6), 255)]), COLOR),
        "I;16": (Image.fromarray(deep), GRAY),
        "F": (Image.fromarray(GRAY.astype(np.float32)), GRAY),
        "EXIF": (turned, np.rot90(COLOR, -1)),
    }


@pytest.mark.parametrize("mode", list(images()))
def test_a_pil_image_of_any_mode_is_seen_as_it_is_shown(mode: str) -> None:
    image, expected = images()[mode]
    before = image.copy()
    for found in read(image) + read([image]):
        np.testing.assert_array_equal(found, expected)
    assert (image.mode, image.tobytes()) == (before.mode, before.tobytes())


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (COLOR / 255, r"got float64 \(6, 9, 3\): .*\* 255\)\.round\(\)\.clip\(0, 255\)\.astype\(np\.uint8\)"),
        (COLOR.astype(np.float32), r"\(x\)\.round\(\)"),
        (GRAY > 3, r"x\.astype\(np\.uint8\) \* 255"),
        (GRAY.astype(np.uint16), r"uint16 \(6, 9\): scale it"),
        ([COLOR.astype(np.int64)], "scale it"),
        (np.moveaxis(np.stack([COLOR] * 2), -1, 1), r"channels come last: np\.moveaxis\(x, -3, -1\)"),
        ([np.moveaxis(COLOR, -1, 0)], "channels come last"),
        (COLOR.ravel(), "reshape flattened pixels"),
        (np.zeros((2, 2, 6, 9, 3), np.uint8), "pass each image separately"),
        ([np.stack([COLOR])], "pass each image separately"),
        ({"a": COLOR}, "got a dict: pass its values"),
        (None, "got NoneType"),
        (7, "got int"),
        ([None], "got object"),
        ([[1, [2]]], "ragged"),
    ],
)
def test_anything_else_is_refused_with_what_to_do(images: Any, words: str) -> None:
    with pytest.raises(DataError, match=words) as refused:
        as_images(images)
    assert "\n" not in str(refused.value)


def test_three_gray_images_are_three_and_a_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert len(as_images(np.moveaxis(COLOR, -1, 0))) == 3
    assert "read as three gray images: pass np.moveaxis(x, 0, -1)" in caplog.text


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    with pytest.raises(DataError, match=f"^{path}x cannot be read: No such file"):
        read([path, f"{path}x"])
    with pytest.raises(DataError, match=f"^{path.parent} cannot be read: it is a folder"):
        read(path.parent)


def test_what_was_given_twice_is_the_same() -> None:
    once = as_images(np.stack([GRAY[..., None]] * 3))
    assert len(as_images(once)) == 3
