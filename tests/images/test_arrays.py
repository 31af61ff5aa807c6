"""Arrays in memory, in a file, and in a Hugging Face data set become the same splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.errors import DataError
from frostline.images.arrays import from_arrays, from_hugging_face, load_npz
from frostline.images.dataset import Splits


@pytest.fixture(scope="module")
def some(fashion: Splits) -> tuple[np.ndarray, np.ndarray]:
    """300 garments of three classes: bags (8), boots (9), trousers (1)."""
    rows = np.concatenate([np.flatnonzero(fashion.train.labels == label)[:100] for label in (8, 9, 1)])
    return np.asarray(fashion.train.images[rows]), fashion.train.labels[rows]


def test_a_test_split_is_drawn_from_arrays_always_the_same(some) -> None:
    splits = from_arrays(*some)
    assert splits.train.class_names == ("1", "8", "9")
    np.testing.assert_allclose(np.bincount(splits.test.labels), 15, atol=1)
    assert len(splits.train) + len(splits.test) == 300
    assert not set(splits.train.row_ids) & set(splits.test.row_ids)
    assert from_arrays(*some).test.fingerprint == splits.test.fingerprint


def test_given_splits_and_names_are_kept(some) -> None:
    images, labels = some
    numbers = np.searchsorted([1, 8, 9], labels)
    part = slice(0, 300, 10)
    splits = from_arrays(
        images, numbers, ["trouser", "bag", "boot"], val=(images[part], numbers[part]), test=some_test(some)
    )
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (300, 30, 60)
    assert splits.train.class_names == ("trouser", "bag", "boot")
    assert splits.train.groups is None


def some_test(some) -> tuple[np.ndarray, np.ndarray]:
    images, labels = some
    return images[::5], np.searchsorted([1, 8, 9], labels[::5])


def test_texts_columns_and_a_last_axis_of_one_are_taken(some) -> None:
    images, labels = some
    words = np.array(["zero", "trouser", *["?"] * 6, "bag", "boot"])[labels]
    splits = from_arrays(images[..., None], words[:, None])
    assert splits.train.class_names == ("bag", "boot", "trouser")
    assert splits.train.images.shape[1:] == (28, 28)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x / 255, y), r"expected a uint8 array of shape \(N, H, W\)"),
        (lambda x, y: (x[:9], y), "memory, train: 9 images but 300 labels"),
        (lambda x, y: (x, np.zeros(300, int)), "memory has one class alone, 0 with 300 images"),
        (lambda x, y: (x[:0], y[:0]), "memory has no training images"),
        (lambda x, y: (x[0], y), r"expected a uint8 array .* got uint8 \(28, 28\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(some, change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_arrays(*change(*some))


def test_class_numbers_beyond_the_names_are_refused(some) -> None:
    with pytest.raises(DataError, match="labels run from 1 to 9, but there are 2 class names"):
        from_arrays(*some, ["a", "b"])


@pytest.mark.parametrize(
    "names", [("x", "y"), ("images", "labels"), ("x_train", "y_train"), ("train_images", "train_labels")]
)
def test_a_file_of_arrays_is_read(some, tmp_path: Path, names: tuple[str, str]) -> None:
    np.savez(tmp_path / "a.npz", **dict(zip(names, some, strict=True)), other=np.zeros(3))
    splits = load_npz(tmp_path / "a.npz", "a")
    assert (splits.name, splits.source) == ("a", str(tmp_path / "a.npz"))
    assert splits.train.fingerprint == from_arrays(*some).train.fingerprint


def test_a_file_has_its_own_splits_and_names(some, tmp_path: Path) -> None:
    images, numbers = some_test(some)
    arrays = {
        f"{kind}_{split}": array
        for split in ("train", "val", "test")
        for kind, array in (("x", images), ("y", numbers))
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays, class_names=np.array(["trouser", "bag", "boot"]))
    splits = load_npz(tmp_path / "a.npz", "a")
    assert splits.val is not None
    assert len(splits.train) == len(splits.val) == len(splits.test) == 60
    assert splits.train.class_names == ("trouser", "bag", "boot")


def test_a_damaged_or_foreign_file_is_refused(some, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=some[0], names=np.zeros(3))
    with pytest.raises(DataError, match="expected arrays x_train and y_train, or images and labels, got images, names"):
        load_npz(path, "a")
    np.savez(path, images=some[0], labels=np.array([object()] * 300))
    with pytest.raises(DataError, match=r"is no readable \.npz file of arrays: Object arrays cannot be loaded"):
        load_npz(path, "a")
    whole = path.read_bytes()
    for data in (b"", b"text", whole[:5000], whole[:3000] + b"\xff" * 999 + whole[3999:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"is no readable \.npz file of arrays"):
            load_npz(path, "a")


class Table:
    """What a ``datasets.Dataset`` offers of itself."""

    def __init__(self, features: dict[str, Any], **columns: list[Any]) -> None:
        self.features, self.column_names, self._columns = features, list(columns), columns

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]


class Names:
    names = ("trouser", "bag", "boot")


def table(images: np.ndarray, labels: np.ndarray, image: str = "image", label: str = "label") -> Table:
    pictures = [Image.fromarray(pixels) for pixels in images]
    return Table({image: None, label: Names()}, **{image: pictures, label: labels.tolist()})


def test_a_hugging_face_dataset_is_taken(some) -> None:
    images, labels = some[0], np.searchsorted([1, 8, 9], some[1])
    splits = from_hugging_face(table(images, labels, "img", "labels"), "garments")
    assert splits.name == "garments"
    assert splits.train.class_names == Names.names
    assert len(splits.test) == len(from_arrays(images, labels).test)
    several = {"train": table(images, labels), "validation": table(images[::9], labels[::9])}
    several["test"] = table(*some_test(some))
    splits = from_hugging_face(several)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (300, 34, 60)
    np.testing.assert_array_equal(splits.train.images, images)


def test_one_picture_in_colour_makes_all_of_them_so(some) -> None:
    data = table(some[0], np.searchsorted([1, 8, 9], some[1]))
    data["image"][7] = data["image"][7].convert("RGBA")
    assert from_hugging_face(data).train.images.shape[1:] == (28, 28, 3)


def test_a_hugging_face_dataset_that_does_not_fit_is_refused(some) -> None:
    good = table(*some_test(some))
    with pytest.raises(DataError, match=r"expected splits train, validation and test, got train, extra: rename them\."):
        from_hugging_face({"train": good, "extra": good})
    with pytest.raises(DataError, match="no column label or labels: its columns are image, fine"):
        from_hugging_face(table(*some_test(some), label="fine"))
    good["image"][0] = good["image"][0].resize((9, 9))
    with pytest.raises(DataError, match=r"the pictures have 2 sizes, such as \(9, 9\) and \(28, 28\): resize them"):
        from_hugging_face(good)
