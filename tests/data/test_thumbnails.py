"""Thumbnails and contact sheets."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.decode import Square, decode_image
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.decoding.target import WHOLE, Target
from frostline.data.encoding import SIDE, encode
from frostline.data.registry import from_folder
from frostline.data.thumbnails import Thumbnails, draw_sheet, make_thumbnails
from frostline.errors import DataError, StorageError


def test_small_images_lose_nothing(fashion: Splits) -> None:
    shown = make_thumbnails(fashion.train, np.array([7, 3]))
    data = shown.at(3)
    assert data is not None and shown.at(5) is None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(fashion.train.images[3]))


def test_large_images_are_shrunk() -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8))
    image = Image.open(io.BytesIO(data))
    assert max(image.size) <= SIDE and image.format == "JPEG"


def test_files_keep_their_names_in_a_round_trip(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "größe\n.png")]
    for path in paths:
        Image.new("RGB", (80, 90), "red").save(path)
    made = make_thumbnails(ImageDataset(tuple(paths), np.zeros(2, np.int64), ("red",)), np.arange(2))
    read = Thumbnails.from_tensors("some", made.to_tensors("some"))
    assert read.names == [str(path) for path in paths]
    assert read.encoded == made.encoded and len(read) == 2


def test_what_a_scan_has_decoded_is_not_decoded_again(tmp_path: Path) -> None:
    for name in ("bag", "boot"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            noise = np.random.default_rng([number, len(name)]).integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((640, 480)).save(tmp_path / "photos" / name / f"{number}.jpg")
    images = from_folder(tmp_path / "photos", cache_dir=tmp_path / "cache", target=Target(224, "pad")).train
    for path in images.images:
        path.unlink()
    assert len(make_thumbnails(images, np.arange(len(images)), "pad")) == len(images)
    whole = make_thumbnails(images, np.arange(len(images)), WHOLE, 96)
    assert [Image.open(io.BytesIO(data)).size for data in whole.encoded] == [(96, 72)] * len(images)
    with pytest.raises(DataError, match="cannot be read"):
        make_thumbnails(images, np.arange(len(images)), "crop")


@pytest.mark.parametrize("size", [(640, 480), (481, 1000), (90, 31), (300, 300)])
def test_whole_image_is_the_same_from_a_padded_square(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.effect_noise(size, 90).save(tmp_path / "a.png")
    target = Target(64, "pad")
    with Image.open(tmp_path / "a.png") as image:
        kept = DecodedImages(tmp_path / "kept", target)
        kept.add(b"row", Square(np.asarray(target.apply(image)), size))
        whole = Target(64, WHOLE)
        found = kept.get(b"row", whole)
        assert found is not None and np.array_equal(found, np.asarray(whole.apply(image)))
    assert np.array_equal(found, decode_image(tmp_path / "a.png", whole))


def test_none_is_a_round_trip_too() -> None:
    none = Thumbnails(np.array([], np.int64), [], [])
    assert len(Thumbnails.from_tensors("no", none.to_tensors("no"))) == 0


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


def test_sheet_of_the_real_data_shows_ten_rows(fashion: Splits, tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.png"
    draw_sheet(fashion.test, "Fashion-MNIST", path, per_class=4)
    sheet = pixels(path)
    height, width = sheet.shape
    assert height > 700
    assert width > 400
    for row in np.array_split(sheet[height // 10 :], 10):  # below the title, every class has something dark in it
        assert (row < 100).mean() > 0.02


def test_seed_decides_which_images(fashion: Splits, tmp_path: Path) -> None:
    part = fashion.test.subset(np.arange(400))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_sheet(part, "sheet", tmp_path / f"{name}.png", seed, per_class=3)
    a, b, c = (pixels(tmp_path / f"{name}.png") for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_files_of_many_sizes_and_an_empty_class_are_shown(tmp_path: Path) -> None:
    paths = []
    for number, size in enumerate([(20, 30), (64, 10), (5, 5)]):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", size, (200, 30 * number, 0)).save(paths[-1])
    dataset = ImageDataset(tuple(paths), np.array([0, 0, 2]), ("cat", "none of it", "$_{dog$"))
    draw_sheet(dataset, "few", tmp_path / "sheet.png", per_class=3)
    assert pixels(tmp_path / "sheet.png").std() > 10


def test_place_that_cannot_be_written_is_named(fashion: Splits, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    part = fashion.test.subset(np.arange(40))
    with pytest.raises(StorageError, match=rf"cannot use {tmp_path}/file/sheet.png: .*--output"):
        draw_sheet(part, "sheet", tmp_path / "file" / "sheet.png", per_class=1)
