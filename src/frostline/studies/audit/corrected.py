"""A corrected label table: the data set with what a person accepted of an audit, in a form that `train` takes."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.progress import log
from frostline._utils.storage import check_output, replacing, write_bytes
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.listing import complete
from frostline.errors import DataError, UnknownNameError
from frostline.studies.audit.table import Correction, read_table

REMEDY = "--output chooses another place"
Parts = dict[str, ImageDataset]


def write_corrected(splits: Splits, table: Path, output: Path | None, *, overwrite: bool = False) -> Path:
    """Write the whole data set as a table (of files) or a ``.npz`` (of arrays), with the corrections of a table.

    Every image keeps its split, also where that had been drawn, so that the test split stays the same.

    Parameters
    ----------
    splits : Splits
        The data set that was audited, whole.
    table : Path
        ``audit.csv``, edited or cut.
    output : Path, optional
        ``corrected.csv`` or ``corrected.npz`` beside the table when left out.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    DataError
        When the table does not belong to the data set, contradicts itself, or leaves no usable data set.
    StorageError
        When the file exists, or cannot be written.
    """
    parts = {
        n: p
        for n, p in (("train", splits.train), ("val", splits.val), ("test", splits.test))
        if p is not None and len(p)
    }
    kind = ".npz" if isinstance(splits.train.images, np.ndarray) else ".csv"
    path = output or table.with_name(f"corrected{kind}")
    if path.suffix.lower() != kind:
        raise DataError(f"{path}: this data set's corrected table ends in {kind}: change --output.")
    check_output(path, overwrite=overwrite)
    corrections = read_table(table)
    if not corrections:
        raise DataError(f"{table} asks for no change: give a new_label, or yes in remove.")
    corrected, relabeled, removed = _apply(parts, corrections, table)
    _refuse_clashes(corrected)
    complete(splits.name, str(path), corrected["train"], corrected.get("val"), corrected.get("test"), test_fraction=0)
    if "test" in {correction.split for correction in corrections}:
        log.warning("the test split is changed too: its accuracy is not comparable with what was measured before")
    _write_arrays(corrected, path) if kind == ".npz" else _write_listing(corrected, path)
    log.info("wrote %s: %d labels changed, %d images left out", path, relabeled, removed)
    return path


def _apply(parts: Parts, corrections: Sequence[Correction], table: Path) -> tuple[Parts, int, int]:
    """Return the corrected splits, and how many labels changed and images went."""
    class_names = parts["train"].class_names
    labels = {name: part.labels.copy() for name, part in parts.items()}
    stays = {name: np.ones(len(part), bool) for name, part in parts.items()}
    asked: dict[tuple[str, int], Correction] = {}
    for correction in corrections:
        where = f"{table}, line {correction.line}"
        _check_image(parts, correction, where)
        before = asked.setdefault((correction.split, correction.number), correction)
        if before.new_label != correction.new_label:
            raise DataError(f"{where}: line {before.line} asks something else of the same image: keep one of them.")
        if correction.new_label is None:
            stays[correction.split][correction.number] = False
        elif correction.new_label not in class_names:
            raise DataError(f"{where}: {UnknownNameError('class', correction.new_label, class_names)}")
        else:
            labels[correction.split][correction.number] = class_names.index(correction.new_label)
    changed = {
        name: ImageDataset(part.images, labels[name], class_names, part.identify, part.groups).subset(
            np.flatnonzero(stays[name])
        )
        for name, part in parts.items()
    }
    removed = sum(correction.new_label is None for correction in asked.values())
    return changed, len(asked) - removed, removed


def _check_image(parts: Parts, correction: Correction, where: str) -> None:
    part = parts.get(correction.split)
    if part is None:
        raise DataError(f"{where}: split: expected {', '.join(parts)}, got {correction.split[:40]!r}.")
    known = correction.number < len(part)
    if not known or part.row_ids[correction.number].hex() != correction.content:
        raise DataError(
            f"{where}: image {correction.number} of {correction.split} is not the one that was audited: "
            "the data set is another, or changed; audit it again."
        )
    if part.class_names[part.labels[correction.number]] != correction.label:
        raise DataError(f"{where}: the image's label is no longer {correction.label!r}: audit the data set again.")


def _refuse_clashes(parts: Parts) -> None:
    """Refuse one file's content under two classes, as `train` would."""
    if isinstance(parts["train"].images, np.ndarray):
        return
    first: dict[bytes, tuple[int, Path]] = {}
    for part in parts.values():
        for path, label, row_id in zip(part.images, part.labels.tolist(), part.row_ids, strict=True):
            known, other = first.setdefault(row_id, (label, path))
            if known != label:
                raise DataError(f"{path} and {other} hold the same bytes and would get two labels: give both the same.")


def _write_listing(parts: Parts, path: Path) -> None:
    """Write paths relative to the table's folder where they lie in or near it, else absolute ones."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    for name, part in parts.items():
        for image, label in zip(part.images, part.labels, strict=True):
            writer.writerow([_relative(Path(str(image)), path.parent), part.class_names[label], name])
    try:
        data = text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise DataError("an image's path is no UTF-8, which a table cannot hold: rename the file.") from error
    write_bytes(path, data, REMEDY)


def _relative(image: Path, folder: Path) -> str:
    try:
        return os.path.relpath(image.absolute(), folder.absolute())
    except ValueError:  # another drive
        return str(image.absolute())


def _write_arrays(parts: Parts, path: Path) -> None:
    arrays: dict[str, NDArray[np.generic]] = {"class_names": np.array(parts["train"].class_names)}
    for name, part in parts.items():
        arrays |= {f"x_{name}": np.asarray(part.images), f"y_{name}": part.labels}
    with replacing(path, REMEDY) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs take names for options
