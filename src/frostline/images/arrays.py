"""Pictures that are in memory already, or in one ``.npz`` file: arrays and Hugging Face data sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostline.errors import DataError, first_line
from frostline.images.alike import difference_hash, group_numbers
from frostline.images.dataset import ImageDataset, Splits, check_pixels
from frostline.images.decode import picture_pixels
from frostline.images.listing import SPLIT_NAMES, complete

Pair = tuple[ArrayLike, ArrayLike]  # images, labels

# Keras, MedMNIST and plain names: what holds the images and the labels of a split.
KEYS = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y"), ("images", "labels")),
    "val": (("x_val", "y_val"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    val: Pair | None = None,
    test: Pair | None = None,
    name: str = "arrays",
    source: str = "memory",
) -> Splits:
    """Make a data set of arrays; a test split that is missing is drawn, 15 % of each class.

    Parameters
    ----------
    images : array of uint8, (N, H, W), (N, H, W, 1) or (N, H, W, 3)
    labels : array, (N,) or (N, 1)
        Class numbers that count in ``class_names``; without them any numbers or texts.
    class_names : sequence of str, optional
        The labels themselves when left out, in their order.
    val, test : pair of arrays, optional
        Images and labels of these splits.
    name, source : str
        What the data set is called, and where it came from.

    Raises
    ------
    DataError
        When shapes, types, labels or classes do not fit.
    """
    pairs = {"train": (images, labels)} | {s: pair for s, pair in (("val", val), ("test", test)) if pair is not None}
    pixels = {split: _images(pair[0]) for split, pair in pairs.items()}
    values = {split: _labels(pair[1]) for split, pair in pairs.items()}
    if class_names is None:
        known = np.unique(np.concatenate(list(values.values())))
        values = {split: np.searchsorted(known, value) for split, value in values.items()}
        class_names = [str(value) for value in known]
    names = tuple(str(class_name) for class_name in class_names)
    parts = {}
    for split in pairs:
        try:
            parts[split] = ImageDataset(pixels[split], values[split], names)
        except DataError as error:
            raise DataError(f"{source}, {split}: {error}") from error
    if len(parts) < len(KEYS):
        parts["train"] = _grouped(parts["train"])
    return complete(name, source, parts["train"], parts.get("val"), parts.get("test"))


def load_npz(path: Path, name: str) -> Splits:
    """Load a ``.npz`` file: ``x_train``, ``y_train`` and the same for val and test, or ``images`` and ``labels`` alone.

    ``class_names`` may be there too. MedMNIST's names (``train_images``, …) are known. No pickle is read.

    Raises
    ------
    DataError
        When the file is damaged or lacks an array; else as `from_arrays`.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            wanted = {name for pairs in KEYS.values() for pair in pairs for name in pair} | {"class_names"}
            arrays = {name: file[name] for name in file.files if name in wanted}
            held = ", ".join(file.files)
    except Exception as error:  # zip and numpy raise whatever a damaged file leads them to
        raise DataError(f"{path} is no readable .npz file of arrays: {first_line(error)}.") from error
    found = {
        split: next(((arrays[x], arrays[y]) for x, y in pairs if x in arrays and y in arrays), None)
        for split, pairs in KEYS.items()
    }
    train = found["train"]
    if train is None:
        raise DataError(f"{path}: expected arrays x_train and y_train, or images and labels, got {held or 'none'}.")
    class_names = arrays["class_names"].ravel().tolist() if "class_names" in arrays else None
    return from_arrays(*train, class_names, val=found["val"], test=found["test"], name=name, source=str(path))


def from_hugging_face(dataset: Any, name: str = "hugging-face") -> Splits:
    """Make a data set of a ``datasets.Dataset`` or ``DatasetDict`` whose pictures share one size.

    Parameters
    ----------
    dataset : Dataset or DatasetDict
        With a column ``image`` (or ``img``) of pictures and one ``label`` (or ``labels``); splits are called train,
        validation (val, valid) and test, and those that are missing are drawn.
    name : str
        What the data set is called.

    Raises
    ------
    DataError
        When a column or the training split is missing, or pictures differ in size; else as `from_arrays`.
    """
    given = dict(dataset) if isinstance(dataset, Mapping) else {"train": dataset}
    unknown = [split for split in given if split not in SPLIT_NAMES]
    if unknown or "train" not in given:
        raise DataError(f"{name}: expected splits train, validation and test, got {', '.join(given)}: rename them.")
    pairs: dict[str, Pair] = {SPLIT_NAMES[split]: _pair(part, f"{name}, {split}") for split, part in given.items()}
    feature = given["train"].features[_column(given["train"], ("label", "labels"), name)]
    return from_arrays(
        *pairs["train"],
        getattr(feature, "names", None),
        val=pairs.get("val"),
        test=pairs.get("test"),
        name=name,
        source="a Hugging Face data set",
    )


def _pair(part: Any, where: str) -> Pair:
    pictures = part[_column(part, ("image", "img"), where)]
    labels = list(part[_column(part, ("label", "labels"), where)])
    arrays = [picture_pixels(item.copy()) if hasattr(item, "convert") else np.asarray(item) for item in pictures]
    if any(array.ndim == 3 for array in arrays):  # one picture in colour: all of them
        arrays = [np.repeat(array[..., None], 3, -1) if array.ndim == 2 else array for array in arrays]
    sizes = sorted({array.shape for array in arrays})
    if len(sizes) > 1:
        raise DataError(
            f"{where}: the pictures have {len(sizes)} sizes, such as {sizes[0]} and {sizes[-1]}: resize them to one, "
            "or save them as files in class folders."
        )
    return np.stack(arrays) if arrays else np.empty((0, 1, 1), np.uint8), np.asarray(labels)


def _column(part: Any, names: Sequence[str], where: str) -> str:
    for column in names:
        if column in part.column_names:
            return column
    raise DataError(f"{where}: no column {' or '.join(names)}: its columns are {', '.join(part.column_names)}.")


def _images(images: ArrayLike) -> NDArray[np.uint8]:
    array = np.asarray(images)
    return check_pixels(array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array)


def _labels(labels: ArrayLike) -> NDArray[Any]:
    array = np.asarray(labels)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _grouped(images: ImageDataset) -> ImageDataset:
    """Give each image of an array the number of those that it looks like."""
    names = [images.class_names[label] for label in images.labels]
    groups = group_numbers(names, images.row_ids, [difference_hash(np.asarray(image)) for image in images.images])
    return ImageDataset(images.images, images.labels, images.class_names, groups=groups)
