"""A data set of pixels or files, and the checks of its arguments."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline._utils.hashing import row_id_of_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.pool import Workers
from frostline.data.decoding.target import Target
from frostline.errors import DataError

NAMES = ("a", "b")


def gray(count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 5, 4), dtype=np.uint8)


def labels(count: int = 6) -> np.ndarray:
    return np.arange(count) % 2


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    paths = []
    for number, image in enumerate(gray()):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(image).save(paths[-1])
    return tuple(paths)


def test_pixels_are_kept_as_they_are() -> None:
    dataset = ImageDataset(gray(), labels().astype(np.uint8), ["a", "b"])
    assert len(dataset) == 6
    assert dataset.labels.dtype == np.int64
    assert dataset.class_names == NAMES
    assert dataset.side == 5
    np.testing.assert_array_equal(dataset.pixels(np.array([4, 1])), gray()[[4, 1]])


@pytest.mark.parametrize(
    ("images", "given", "message"),
    [
        (
            np.zeros((2, 5, 4), np.float32),
            [0, 1],
            r"images: expected a uint8 array of shape \(N, H, W\) or \(N, H, W, 3\), got float32 \(2, 5, 4\)",
        ),
        (np.zeros((2, 5), np.uint8), [0, 1], r"got uint8 \(2, 5\)"),
        (np.zeros((2, 5, 4, 4), np.uint8), [0, 1], r"got uint8 \(2, 5, 4, 4\)"),
        (gray(3), [0, 1], "^3 images but 2 labels: each image needs one label"),
        (gray(2), [0, 2], "^labels run from 0 to 2, but there are 2 class names"),
        (gray(2), [-1, 1], "^labels run from -1 to 1"),
        (gray(2), [0.0, 1.0], r"^labels: expected whole numbers of shape \(N,\), got float64 \(2,\)"),
        (gray(2), [[0], [1]], r"^labels: expected whole numbers of shape \(N,\), got int64 \(2, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused(images: np.ndarray, given: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ImageDataset(images, np.array(given), NAMES)


def test_files_are_decoded_when_asked_for(files: tuple[Path, ...]) -> None:
    dataset = ImageDataset(files, labels(), NAMES)
    assert dataset.side is None
    chosen = np.array([5, 0])
    with Workers(2) as workers:
        for decoded in (dataset.pixels(chosen), dataset.decoding(chosen, None, workers)()):
            np.testing.assert_array_equal(decoded, gray()[[5, 0]])


def test_files_give_no_more_than_a_network_needs(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200)).save(tmp_path / "a.jpg")
    dataset = ImageDataset((tmp_path / "a.jpg",), np.array([0]), NAMES)
    assert dataset.pixels(np.array([0]), Target(64))[0].shape == (100, 100, 3)
    assert dataset.pixels(np.array([0]), Target(64, "pad"))[0].shape == (75, 75, 3)


def test_damaged_file_is_no_trouble_until_it_is_read(files: tuple[Path, ...]) -> None:
    files[3].write_text("no image")
    dataset = ImageDataset(files, labels(), NAMES)
    assert len(dataset.pixels(np.array([0, 1]))) == 2
    with pytest.raises(DataError, match=f"^{files[3]} is not a readable image"):
        dataset.pixels(np.array([2, 3]))


def test_row_ids_of_files_are_those_of_their_bytes(files: tuple[Path, ...]) -> None:
    dataset = ImageDataset(files, labels(), NAMES)
    assert dataset.row_ids == [row_id_of_bytes(path.read_bytes()) for path in files]


def test_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read: No such file"):
        ImageDataset((tmp_path / "gone.png",), np.zeros(1, np.int64), ("one",)).row_ids  # noqa: B018


def test_row_ids_may_come_from_elsewhere(files: tuple[Path, ...]) -> None:
    def from_names(paths: tuple[Path, ...]) -> list[bytes]:
        return [path.name.encode().ljust(16) for path in paths]

    dataset = ImageDataset(files, labels(), NAMES, identify=from_names)
    assert dataset.row_ids[2] == b"2.png".ljust(16)
    assert dataset.subset(np.array([2])).row_ids == [b"2.png".ljust(16)]


def test_fingerprint_sees_content_order_labels_and_names() -> None:
    images, changed = gray(), gray()
    changed[3, 2, 1] ^= 1
    sets = [
        ImageDataset(images, labels(), NAMES),
        ImageDataset(changed, labels(), NAMES),
        ImageDataset(images[::-1], labels()[::-1], NAMES),
        ImageDataset(images, 1 - labels(), NAMES),
        ImageDataset(images, labels(), ("b", "a")),
        ImageDataset(images[:5], labels(5), NAMES),
    ]
    assert len({dataset.fingerprint for dataset in sets}) == len(sets)
    assert ImageDataset(gray(), labels().astype(np.int32), NAMES).fingerprint == sets[0].fingerprint


@pytest.mark.parametrize("known", [False, True])
def test_subset_keeps_order_and_row_ids(files: tuple[Path, ...], known: bool) -> None:
    chosen = np.array([4, 0, 3])
    for images in (gray(), files):
        dataset = ImageDataset(images, labels(), NAMES)
        ids = list(ImageDataset(images, labels(), NAMES).row_ids)
        if known:
            assert dataset.row_ids == ids
        part = dataset.subset(chosen)
        assert part.labels.tolist() == [0, 0, 1]
        assert part.row_ids == [ids[i] for i in chosen]
        np.testing.assert_array_equal(part.pixels(np.arange(3)), gray()[chosen])


def test_a_file_that_was_changed_since_it_was_identified_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for number, path in enumerate(files):
        Image.new("L", (4, 4), number).save(path)
    images = ImageDataset(tuple(files), np.array([0, 1]), ("a", "b"))
    assert len(images.row_ids) == 2
    Image.new("L", (4, 4), 9).save(files[1])
    with pytest.raises(DataError, match=f"^{files[1]} was changed while it was being read"):
        images.pixels(np.arange(2))
    assert images.pixels(np.array([0]))[0].max() == 0


def test_files_may_have_as_many_pixels_as_is_said(tmp_path: Path) -> None:
    Image.new("L", (40, 40)).save(tmp_path / "a.png")
    images = ImageDataset((tmp_path / "a.png",), np.array([0]), ("a",), max_pixels=1599)
    with pytest.raises(DataError, match="claims 40 x 40 pixels: at most 1,599 are read"):
        images.pixels(np.arange(1))
