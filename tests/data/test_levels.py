"""The value scale of a data set, and the warnings about its values."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels, Tones, choose_levels, describe_oddities, describe_scales
from frostline.data.preprocess import Preprocess
from frostline.data.registry import load_dataset
from frostline.data.scan_file import scan_file
from frostline.errors import DataError


def tiff(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "TIFF")
    return buffer.getvalue()


def test_bytes_need_no_scale() -> None:
    assert choose_levels([Tones("byte", 0, 255), Tones("byte", 3, 9)]) is None


@pytest.mark.parametrize(
    ("low", "high", "scale"),
    [
        (0, 200, (0, 255)),
        (0, 1000, (0, 1023)),
        (5, 4095, (0, 4095)),
        (0, 4096, (0, 16383)),
        (0, 16_384, (0, 65_535)),
        (0, 70_000, (0, 2**24 - 1)),
        (-1024, 3071, (-1024, 3071)),
        (-9, -1, (-9, 7)),
    ],
)
def test_whole_numbers_get_the_fewest_bits_that_hold_all(low: int, high: int, scale: tuple[int, int]) -> None:
    levels = choose_levels([Tones("whole", 0, 7), Tones("whole", low, high)])
    assert levels == Levels(whole=scale)


@pytest.mark.parametrize(
    ("files", "scale"),
    [
        ([(0, 1), (0, 0.3), (0, 1.02)], (0, 1)),
        ([(0, 1), (0, 1), (0, 9)], (0, 1)),
        ([(-0.01, 1)], (0, 1)),
        ([(-1, 1), (-0.9, 0.8)], (-1, 1)),
        ([(0, 255), (0, 130), (0, 256.5)], (0, 255)),
        ([(0, 60_000), (0, 65_535)], (0, 65_535)),
        ([(-2.5, 2.8), (-2.1, 2.6), (-2.4, 2.7)], (-2.4, 2.7)),
        ([(0, 2000)], (0, 2000)),
        ([(7, 7)], (0, 8)),
    ],
)
def test_real_numbers_get_the_scale_that_most_files_keep_to(
    files: list[tuple[float, float]], scale: tuple[float, float]
) -> None:
    assert choose_levels([Tones("real", *file) for file in files]) == Levels(real=scale)


def test_one_pixel_above_the_scale_does_not_make_an_image_black() -> None:
    values = np.array([[0, 0.5, 1.02]], np.float32)
    assert decode_image(tiff(values)).tolist() == [[0, 127, 255]]
    assert decode_image(tiff(values), levels=Levels(real=(0, 1))).tolist() == [[0, 127, 255]]


def test_twelve_bits_in_sixteen_are_as_bright_as_they_are() -> None:
    values = np.array([[0, 16, 2048, 4095, 9999]], np.uint16)
    assert decode_image(tiff(values), levels=Levels(whole=(0, 4095))).tolist() == [[0, 1, 128, 255, 255]]
    assert decode_image(tiff(values.astype(np.int32)), levels=Levels(whole=(0, 4095))).tolist()[0][3] == 255


def test_negative_numbers_are_not_cut_off_where_the_scale_has_them() -> None:
    values = np.array([[-4096, 0, 4095]], np.int32)
    assert decode_image(tiff(values), levels=Levels(whole=(-4096, 4095))).tolist() == [[0, 127, 255]]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_no_number_is_a_reason_to_leave_a_file_out(tmp_path: Path, odd: float) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(tiff(np.array([[0, 0.5, odd]], np.float32)))
    assert scan_file(path)[0].reason == "contains NaN or infinite values"
    with pytest.raises(DataError, match=f"^{path} contains NaN"):
        decode_image(path, Target(1))


def white_shape() -> Image.Image:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5:15, 5:15] = 255
    return Image.fromarray(np.dstack([np.full((20, 20, 3), 252, np.uint8), alpha]))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_white_shapes_on_transparency_are_laid_on_black() -> None:
    seen = decode_image(png(white_shape()), levels=Levels(contrast=True))
    assert (seen[0, 0].tolist(), seen[10, 10].tolist()) == ([0, 0, 0], [252, 252, 252])
    assert decode_image(png(white_shape())).min() >= 252  # as models that were trained before had it


def test_other_shapes_stay_on_white() -> None:
    dark = Image.fromarray(np.asarray(white_shape()) // np.array([3, 3, 3, 1], np.uint8))
    seen = decode_image(png(dark), levels=Levels(contrast=True))
    assert (seen[0, 0].tolist(), seen[10, 10].tolist()) == ([255, 255, 255], [84, 84, 84])


def test_preprocessing_carries_the_scale_and_is_as_before_without() -> None:
    levels = Levels(whole=(0, 4095), real=(-1, 1), contrast=True)
    assert Preprocess.from_dict(Preprocess(64, levels=levels).to_dict()).levels == levels
    assert "levels" not in Preprocess(64).to_dict()
    assert Preprocess.from_dict(Preprocess(64).to_dict()) == Preprocess(64)


@pytest.mark.parametrize("whole", [[0, 0], [5, 1], [0, float("inf")], [float("nan"), 1], [0]])
def test_impossible_scales_are_refused(whole: list[float]) -> None:
    with pytest.raises(ValueError, match=r"levels|unpack"):
        Levels.from_dict({"whole": whole})


def test_remarks_name_what_is_odd() -> None:
    paths = [Path(f"{number}.png") for number in range(4)]
    tones = [Tones("byte", 0, 9), Tones("byte", 2, 2, flat=True), Tones("byte", 0, 255), Tones("whole", 0, 4095)]
    lines = describe_oddities(tones, ["train", "train", "test", "test"], paths)
    assert lines[0] == "1 of 4 images have a single color, such as 1.png"
    assert lines[1].startswith("no pixel of the train images is brighter than 9 of 255")
    assert len(lines) == 2
    assert describe_scales(tones, choose_levels(tones)) == [
        "1 images have 16-bit or 32-bit integers, read with 0 as black and 4,095 as white"
    ]


def test_a_folder_has_one_scale_whatever_single_files_hold(tmp_path: Path, cache: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "deep" / label).mkdir(parents=True)
        for number in range(8):
            values = rng.integers(0, 200 if number else 4096, (12, 12), dtype=np.uint16)
            Image.fromarray(values).save(tmp_path / "deep" / label / f"{number}.png")
    for _ in range(2):  # the second time from what was remembered
        splits = load_dataset(str(tmp_path / "deep"), cache_dir=cache)
        assert splits.train.levels == splits.test.levels == Levels(whole=(0.0, 4095.0))
    position = next(i for i, path in enumerate(splits.train.images) if path.stem == "5")
    values = np.asarray(Image.open(splits.train.images[position]))
    np.testing.assert_array_equal(splits.train.pixels(np.array([position]))[0], values >> 4)
