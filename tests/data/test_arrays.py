"""Arrays in memory, in a file, and in a Hugging Face data set give the same splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.data.arrays import from_arrays, from_hugging_face, load_npz
from frostline.data.dataset import ImageDataset, Splits
from frostline.errors import DataError


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
        (lambda x, y: (x, np.zeros(300, int)), "memory has only one class, 0 with 300 images"),
        (lambda x, y: (x[:0], y[:0]), "memory has no readable training images"),
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
    with pytest.raises(DataError, match=r"is not a readable \.npz file of arrays: Object arrays cannot be loaded"):
        load_npz(path, "a")
    whole = path.read_bytes()
    for data in (b"", b"text", whole[:5000], whole[:3000] + b"\xff" * 999 + whole[3999:]):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"is not a readable \.npz file of arrays"):
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
    rows = [Image.fromarray(pixels) for pixels in images]
    return Table({image: None, label: Names()}, **{image: rows, label: labels.tolist()})


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


def test_one_image_in_color_makes_all_of_them_so(some) -> None:
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
    with pytest.raises(DataError, match=r"the images have 2 sizes, such as \(9, 9\) and \(28, 28\): resize them"):
        from_hugging_face(good)


def test_texts_come_in_natural_order_and_one_spelling(some) -> None:
    images, labels = some
    words = np.where(labels == 8, "b10", np.where(labels == 9, "b2", "caf\u00e9")).astype(object)
    words[::2] = np.where(words[::2] == "caf\u00e9", "cafe\u0301", words[::2])
    splits = from_arrays(images, words)
    assert splits.train.class_names == ("b2", "b10", "caf\u00e9")
    assert (np.bincount(splits.train.labels) + np.bincount(splits.test.labels)).tolist() == [100, 100, 100]
    assert from_arrays(images, np.where(labels == 8, 12, labels)).train.class_names == ("1", "9", "12")


def test_groups_of_arrays_are_not_split(some) -> None:
    images, labels = some
    groups = np.arange(300) % 25
    splits = from_arrays(images, labels, groups=groups)
    group_of = dict(zip(ImageDataset(images, labels, ("",) * 10).row_ids, groups.tolist(), strict=True))
    sides = [{group_of[row] for row in part.row_ids} for part in (splits.train, splits.test)]
    assert all(sides)
    assert not sides[0] & sides[1]
    with pytest.raises(DataError, match=r"memory: groups: expected one per training image, \(300,\), got \(7,\)"):
        from_arrays(images, labels, groups=groups[:7])


def test_arrays_need_no_test_split(some) -> None:
    splits = from_arrays(*some, test_fraction=0)
    assert (len(splits.train), len(splits.test)) == (300, 0)
    with pytest.raises(DataError, match="test_fraction: expected a number from 0 to less than 1, got 1"):
        from_arrays(*some, test_fraction=1)


@pytest.mark.parametrize(
    "labels", [[None, *["a"] * 299], [float("nan"), *[1.0] * 299], np.array(["a", None] * 150, object)]
)
def test_missing_labels_are_refused(some, labels) -> None:
    with pytest.raises(DataError, match=r"memory, train: some images have no label \(None or NaN\): remove them"):
        from_arrays(some[0], labels)


def test_class_names_that_repeat_are_refused(some) -> None:
    with pytest.raises(DataError, match="memory: two classes have the name 'caf\u00e9': rename one"):
        from_arrays(*some, [*"abcdefgh", "caf\u00e9", "cafe\u0301"])


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("X_train", "X_test"),
        ("x_training", "x_holdout"),
        ("Train_Images", "Eval_Images"),
        ("images_train", "images_dev"),
    ],
)
def test_usual_names_of_arrays_are_known(some, tmp_path: Path, train: str, test: str) -> None:
    labels = [
        name.replace("X_", "Y_").replace("x_", "y_").lower().replace("images", "labels") for name in (train, test)
    ]
    images, _ = some_test(some)
    np.savez(tmp_path / "a.npz", **{train: some[0], labels[0]: some[1], test: images, labels[1]: some[1][::5]})
    splits = load_npz(tmp_path / "a.npz", "a")
    given = splits.val if "dev" in test else splits.test
    assert given is not None
    assert len(given) == 60


def test_two_arrays_for_one_split_are_refused(some, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=some[0], y_train=some[1], x_val=some[0], y_val=some[1], x_dev=some[0])
    with pytest.raises(DataError, match="x_val and x_dev could both be the validation split: remove one"):
        load_npz(tmp_path / "a.npz", "a")


def test_hugging_face_splits_have_usual_names_and_one_each(some) -> None:
    good = table(*some_test(some))
    splits = from_hugging_face({"train": good, "dev": good, "eval": good})
    assert splits.val is not None
    assert (len(splits.val), len(splits.test)) == (60, 60)
    with pytest.raises(DataError, match=r"expected splits train, validation and test, got train, test, eval: rename"):
        from_hugging_face({"train": good, "test": good, "eval": good})


def test_a_shortened_header_in_an_npz_is_noticed(tmp_path: Path) -> None:
    """Numpy then reads other bytes, and stops before the end, where the checksum would be compared."""
    path = tmp_path / "t.npz"
    np.savez(path, images=np.zeros((30, 12, 12, 3), np.uint8), labels=np.arange(30) % 3)
    content = bytearray(path.read_bytes())
    place = content.index(b"\x93NUMPY") + 8  # the header's length
    content[place] -= 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.npz is not a readable \.npz file of arrays"):
        load_npz(path, "t")
