import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline._utils.hashing import row_id_of_bytes
from frostline.data.decoding import decoded as module
from frostline.data.decoding.decode import Square, decode_image
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.decoding.target import FITS, Target
from frostline.data.registry import from_folder
from frostline.data.scan_file import scan_file

KINDS = [("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGB", "png"), ("L", "png"), ("P", "png"), ("RGB", "webp")]


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """Return a smooth color image with some noise."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray(np.clip(smooth + generator.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))


def kept(path: Path, target: Target, folder: Path) -> DecodedImages:
    """Return what a scan keeps of one file."""
    images = DecodedImages(folder, target)
    file, square = scan_file(path, keep=target)
    if square is not None:
        images.add(file.row_id, square)
    return images


@pytest.mark.parametrize(("mode", "suffix"), KINDS)
@pytest.mark.parametrize("size", [(2200, 1900), (900, 1301), (700, 500)])
@pytest.mark.parametrize("target", [Target(64), Target(128), Target(224), Target(224, "pad"), Target(260, "squash")])
def test_squares_are_what_decoding_gives(
    tmp_path: Path, mode: str, suffix: str, size: tuple[int, int], target: Target
) -> None:
    path = tmp_path / f"image.{suffix}"
    photograph(*size).convert(mode).save(path, quality=90)
    images, row_id = kept(path, target, tmp_path), row_id_of_bytes(path.read_bytes())
    for side in (target.side, target.side + 5, target.side // 2, 2 * target.side):
        for other in (Target(side, fit) for fit in FITS):
            found = images.get(row_id, other)
            assert found is None or np.array_equal(found, decode_image(path, other))
    if min(size) >= 2 * target.side and suffix != "jpg":
        assert images.get(row_id, target) is not None


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(4000, 3000), (1920, 1080), (1300, 1000)])
def test_photographs_are_kept_for_the_usual_size(tmp_path: Path, size: tuple[int, int], fit: str) -> None:
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera upright
    photograph(*size).save(path, quality=90, exif=exif)
    target = Target(224, fit)
    found = kept(path, target, tmp_path).get(row_id_of_bytes(path.read_bytes()), target)
    if size == (1920, 1080) and fit != "pad":  # the padded image is reduced more: it is decoded again
        assert found is None
    else:
        assert found is not None and np.array_equal(found, decode_image(path, target))


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "LA"])
def test_images_whose_pixels_depend_on_the_data_set_are_not_kept(tmp_path: Path, mode: str) -> None:
    image = photograph(600, 500)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200)
    else:
        image = image.convert(mode)
        image.putalpha(128)
    image.save(tmp_path / "image.png")
    assert scan_file(tmp_path / "image.png", keep=Target(64))[1] is None


def test_small_and_unreadable_images_are_not_kept(tmp_path: Path) -> None:
    photograph(300, 200).save(tmp_path / "small.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    assert scan_file(tmp_path / "small.jpg", keep=Target(128))[1] is None
    assert scan_file(tmp_path / "broken.jpg", keep=Target(128))[1] is None


def square(value: int) -> Square:
    return Square(np.full((20, 20, 3), value, np.uint8), (90, 80))


def test_no_file_is_seen_in_the_folder(tmp_path: Path) -> None:
    images = DecodedImages(tmp_path / "scans", Target(20))
    images.add(b"a", square(1))
    assert np.array_equal(images.get(b"a", Target(20)), square(1).pixels)
    assert list((tmp_path / "scans").iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [("MAX_BYTES", 2500), ("FREE_BYTES", 1 << 62)])
def test_without_room_the_others_are_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    monkeypatch.setattr(module, name, value)
    images = DecodedImages(tmp_path, Target(20))
    for number in range(4):
        images.add(bytes([number]), square(number))
    assert len(images) == (2 if name == "MAX_BYTES" else 0)
    assert images.get(b"\x03", Target(20)) is None
    for number in range(len(images)):
        assert np.array_equal(images.get(bytes([number]), Target(20)), square(number).pixels)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    images = DecodedImages(tmp_path / "file", Target(20))
    images.add(b"a", square(1))
    assert images.get(b"a", Target(20)) is None


def test_a_copy_in_another_process_is_empty(tmp_path: Path) -> None:
    images = DecodedImages(tmp_path, Target(20))
    images.add(b"a", square(1))
    assert len(pickle.loads(pickle.dumps(images))) == 0


def test_a_first_run_decodes_every_photograph_once(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "photos" / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(640, 480 + number, number).save(path, quality=90)
    splits = from_folder(tmp_path / "photos", cache_dir=tmp_path / "cache", target=Target(224, "pad"))
    images = splits.train
    expected = [decode_image(path, Target(224, "pad")) for path in images.images]
    for path in images.images:
        path.unlink()
    found = images.pixels(np.arange(len(images)), Target(224, "pad"))
    assert all(map(np.array_equal, found, expected))


def test_only_what_was_not_kept_is_decoded(tmp_path: Path) -> None:
    for number, size in enumerate([(640, 480), (250, 240), (500, 600), (230, 231)] * 3):
        path = tmp_path / "photos" / f"class {number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        photograph(*size, number).save(path, quality=90)
    images = from_folder(tmp_path / "photos", cache_dir=tmp_path / "cache", target=Target(224, "pad")).train
    found = images.pixels(np.arange(len(images)), Target(224, "pad"))
    for path, pixels in zip(images.images, found, strict=True):
        assert np.array_equal(pixels, decode_image(path, Target(224, "pad")))
