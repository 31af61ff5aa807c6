"""Data sets from arrays, ``.npz`` files and Hugging Face data sets."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, open_file
from frostline.data.dataset import ImageDataset, Splits, check_pixels
from frostline.data.decoding.decode import image_pixels
from frostline.data.listing import TEST_FRACTION, complete
from frostline.data.names import SPLITS, class_name, natural_order, normalize_class_names, split_of, unprintable
from frostline.data.splits import difference_hash, group_numbers, merge_groups
from frostline.errors import DataError, first_line

Pair = tuple[ArrayLike, ArrayLike]  # images, labels

# Array names as in Keras and MedMNIST, or without a split, in any case: x_train, train_labels, images, …
KINDS = {"plain": "training", "train": "training", "val": "validation", "test": "test"}
IMAGE_WORDS, LABEL_WORDS = ("x", "images", "image"), ("y", "labels", "label")


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    val: Pair | None = None,
    test: Pair | None = None,
    groups: ArrayLike | None = None,
    test_fraction: float = TEST_FRACTION,
    name: str = "arrays",
    source: str = "memory",
) -> Splits:
    """Make a data set from arrays; a missing test split is drawn, a share of each class.

    Parameters
    ----------
    images : array of uint8, (N, H, W), (N, H, W, 1) or (N, H, W, 3)
    labels : array, (N,) or (N, 1)
        Indices into ``class_names``, or any numbers or strings without them.
    class_names : sequence of str, optional
        Default: the labels themselves, in natural order.
    val, test : pair of arrays, optional
        Images and labels of these splits.
    groups : array, (N,), optional
        Group of each training image (a patient, a video), as numbers or strings. The images of a group share a split.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.
    name, source : str
        Name and origin of the data set, for messages.

    Raises
    ------
    DataError
        When shapes, types, labels or classes do not fit together.
    """
    if not 0 <= test_fraction < 1:
        raise DataError(f"test_fraction: expected a number from 0 to less than 1, got {test_fraction}.")
    pairs = {"train": (images, labels)} | {s: pair for s, pair in (("val", val), ("test", test)) if pair is not None}
    pixels = {split: _images(pair[0]) for split, pair in pairs.items()}
    values = {split: _labels(pair[1], f"{source}, {split}") for split, pair in pairs.items()}
    if class_names is None:
        values, class_names = _encode_labels(values, source)
    names = tuple(class_name(str(name)) for name in class_names)
    _check_names(names, source)
    parts = {}
    for split in pairs:
        try:
            parts[split] = ImageDataset(pixels[split], values[split], names)
        except DataError as error:
            raise DataError(f"{source}, {split}: {error}") from error
    train_groups = None if groups is None else _groups(groups, len(parts["train"]), source)
    if len(parts) < len(SPLITS) or train_groups is not None:
        parts["train"] = _with_groups(parts["train"], train_groups)
    return complete(name, source, parts["train"], parts.get("val"), parts.get("test"), test_fraction=test_fraction)


def load_npz(path: Path, name: str, test_fraction: float = TEST_FRACTION) -> Splits:
    """Load a ``.npz`` file: ``x_train``, ``y_train`` and the same for val and test, or only ``images`` and ``labels``.

    ``class_names`` and ``groups`` (of the training images) are optional. MedMNIST's names (``train_images``, …) and
    other usual names of splits are recognized. Pickles are not read.

    Raises
    ------
    DataError
        When the file is damaged or lacks an array, and as `from_arrays`.
    """
    try:
        with open_file(path, MAX_TENSOR_FILE_BYTES) as raw, np.load(raw, allow_pickle=False) as file:
            keys = _keys(file.files, path)
            needed = {key for pair in keys.values() for key in pair} | {"class_names", "groups"} & set(file.files)
            arrays = {key: _read_array(file, key) for key in needed}
            names = ", ".join(file.files)
    except DataError:
        raise
    except Exception as error:  # zipfile and numpy raise anything on damaged files
        raise DataError(f"{path} is not a readable .npz file of arrays: {first_line(error)}.") from error
    found = {split: (arrays[x], arrays[y]) for split, (x, y) in keys.items()}
    if "train" not in found:
        raise DataError(f"{path}: expected arrays x_train and y_train, or images and labels, got {names or 'none'}.")
    class_names = _labels(arrays["class_names"].ravel(), f"{path}, class_names") if "class_names" in arrays else None
    return from_arrays(
        *found["train"],
        None if class_names is None else class_names.tolist(),
        val=found.get("val"),
        test=found.get("test"),
        groups=arrays.get("groups"),
        test_fraction=test_fraction,
        name=name,
        source=str(path),
    )


def _read_array(file: Any, key: str) -> NDArray[Any]:
    """Read one array of a ``.npz`` file up to the end of its member, where zipfile verifies the checksum.

    numpy stops after the last element, which a damaged header can place before the end.
    """
    with file.zip.open(f"{key}.npy") as member:
        array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
        if member.read(1):
            raise ValueError(f"{key} has bytes beyond its array")
    return array


def _keys(names: Sequence[str], path: Path) -> dict[str, tuple[str, str]]:
    """Return the names of the two arrays of each split."""
    found: dict[tuple[str, bool], str] = {}
    for name in names:
        split, is_label = _role(name)
        if split is None:
            continue
        earlier = found.setdefault((split, is_label), name)
        if earlier != name:
            raise DataError(f"{path}: {earlier} and {name} could both be the {KINDS[split]} split: remove one.")
    chosen: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        for kind in (split, "plain") if split == "train" else (split,):
            if (kind, False) in found and (kind, True) in found:
                chosen.setdefault(split, (found[kind, False], found[kind, True]))
    return chosen


def _role(name: str) -> tuple[str | None, bool]:
    """Return the split that an array's name states (``plain`` for ``x`` or ``images``), and whether it has labels."""
    plain = name.lower()
    if plain in IMAGE_WORDS + LABEL_WORDS:
        return "plain", plain in LABEL_WORDS
    first, _, rest = plain.partition("_")
    before, _, last = plain.rpartition("_")
    for kind, split in ((first, rest), (last, before)):
        if kind in IMAGE_WORDS + LABEL_WORDS and split_of(split):
            return split_of(split), kind in LABEL_WORDS
    return None, False


def from_hugging_face(dataset: Any, name: str = "hugging-face", *, test_fraction: float = TEST_FRACTION) -> Splits:
    """Make a data set from a ``datasets.Dataset`` or ``DatasetDict`` whose images have the same size.

    Parameters
    ----------
    dataset : Dataset or DatasetDict
        With a column ``image`` (or ``img``) and a column ``label`` (or ``labels``). Splits have usual names (train;
        validation, dev; test), and missing ones are drawn.
    name : str
        Name of the data set.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.

    Raises
    ------
    DataError
        When a column or the training split is missing, or images differ in size, and as `from_arrays`.
    """
    parts = dict(dataset) if isinstance(dataset, Mapping) else {"train": dataset}
    splits = [split_of(str(part)) for part in parts]
    if None in splits or "train" not in splits or len(set(splits)) < len(splits):
        raise DataError(f"{name}: expected splits train, validation and test, got {', '.join(parts)}: rename them.")
    pairs: dict[str | None, Pair] = {
        split: _pair(part, f"{name}, {own_name}") for split, (own_name, part) in zip(splits, parts.items(), strict=True)
    }
    train = list(parts.values())[splits.index("train")]
    feature = train.features[_column(train, ("label", "labels"), name)]
    return from_arrays(
        *pairs["train"],
        getattr(feature, "names", None),
        val=pairs.get("val"),
        test=pairs.get("test"),
        test_fraction=test_fraction,
        name=name,
        source="a Hugging Face data set",
    )


def _pair(part: Any, where: str) -> Pair:
    images = part[_column(part, ("image", "img"), where)]
    labels = list(part[_column(part, ("label", "labels"), where)])
    arrays = [image_pixels(item.copy()) if hasattr(item, "convert") else np.asarray(item) for item in images]
    if any(array.ndim == 3 for array in arrays):  # if one image is in color, convert all
        arrays = [np.repeat(array[..., None], 3, -1) if array.ndim == 2 else array for array in arrays]
    sizes = sorted({array.shape for array in arrays})
    if len(sizes) > 1:
        raise DataError(
            f"{where}: the images have {len(sizes)} sizes, such as {sizes[0]} and {sizes[-1]}: resize them to the same "
            "size, or save them as files in class folders."
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


def _labels(labels: ArrayLike, where: str) -> NDArray[Any]:
    """Return labels (N,), numbers or strings; raise ``DataError`` when one is None or NaN."""
    array = np.asarray(labels)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.dtype.kind in "fcO" and any(label is None or label != label for label in array.flat):  # noqa: PLR0124
        raise DataError(f"{where}: some images have no label (None or NaN): remove them.")
    if array.dtype == object and array.ndim == 1:  # strings from pandas, or numbers and strings mixed
        array = np.array([str(label) for label in array], str)
    return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array


def _encode_labels(values: dict[str, NDArray[Any]], source: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return class numbers for labels that are any numbers or strings, and the classes in natural order."""
    all_labels = np.concatenate([value.ravel() for value in values.values()])
    if all_labels.dtype.kind == "U":
        spelled = np.unique(all_labels)
        normalized = dict(zip(spelled.tolist(), normalize_class_names(spelled.tolist(), source), strict=True))
        names = natural_order(normalized.values())
        number = {name: i for i, name in enumerate(names)}
        for split, value in values.items():
            if value.ndim == 1:  # `ImageDataset` refuses other shapes
                values = values | {split: np.array([number[normalized[label]] for label in value.tolist()], np.int64)}
        return values, names
    known = np.unique(all_labels)
    return {split: np.searchsorted(known, value) for split, value in values.items()}, [str(label) for label in known]


def _check_names(names: Sequence[str], source: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataError(f"{source}: two classes have the name {repeated[0]!r}: rename one.")
    invalid = unprintable(names)
    if invalid:
        raise DataError(f"{source}: the class {invalid[0]!r} cannot be printed: rename it.")


def _groups(groups: ArrayLike, images: int, source: str) -> list[str]:
    array = np.asarray(groups)
    if array.shape != (images,):
        raise DataError(f"{source}: groups: expected one per training image, ({images},), got {array.shape}.")
    return [str(group) for group in array.tolist()]


def _with_groups(images: ImageDataset, groups: Sequence[str] | None) -> ImageDataset:
    """Assign one group number to images that are similar or share a group."""
    names = [images.class_names[label] for label in images.labels]
    similar = group_numbers(names, images.row_ids, [difference_hash(np.asarray(image)) for image in images.images])
    return ImageDataset(images.images, images.labels, images.class_names, groups=merge_groups(similar, groups))
