"""Corrections in an edited ``audit.csv``, applied: a corrected data set that `frostline train` reads."""

import csv
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.files import read_bytes, reading
from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT, check_output, replacing, write_bytes
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.listing import complete
from frostline.errors import DataError, UnknownNameError

NEEDED = ("split", "number", "label", "new_label", "remove", "content")
MAX_TABLE_BYTES = 1 << 30
YES = ("yes", "y", "true", "1", "x")
NO = ("no", "n", "false", "0", "")
Parts = dict[str, ImageDataset]


@dataclass(frozen=True)
class Correction:
    """The correction in a line: another class, or removal of the image.

    Attributes
    ----------
    line : int
        Line number, for messages.
    split, number, label, content
        The image, its label and its content digest at the time of the audit.
    new_label : str or None
        None removes the image.
    """

    line: int
    split: str
    number: int
    label: str
    content: str
    new_label: str | None


def write_corrected(splits: Splits, table: Path, output: Path | None, *, overwrite: bool = False) -> Path:
    """Write the corrected data set as a table (of files) or a ``.npz`` (of arrays).

    Every image keeps its split, even if that was drawn at random, so the test split stays the same.

    Parameters
    ----------
    splits : Splits
        The complete data set that was audited.
    table : Path
        ``audit.csv``, edited or shortened.
    output : Path, optional
        ``corrected.csv`` or ``corrected.npz`` beside the table when left out.

    Returns
    -------
    Path
        The written file.

    Raises
    ------
    DataError
        When the table does not belong to the data set or contradicts itself, or no usable data set is left.
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
        raise DataError(f"{table} has no corrections: give a new_label, or yes in remove.")
    corrected, relabeled, removed = _apply(parts, corrections, table)
    _refuse_clashes(corrected)
    complete(splits.name, str(path), corrected["train"], corrected.get("val"), corrected.get("test"), test_fraction=0)
    if "test" in {correction.split for correction in corrections}:
        log.warning("the test split changes: test accuracies before and after are not comparable")
    _write_arrays(corrected, path) if kind == ".npz" else _write_listing(corrected, path)
    log.info("wrote %s: %d labels changed, %d images removed", path, relabeled, removed)
    return path


def _apply(parts: Parts, corrections: Sequence[Correction], table: Path) -> tuple[Parts, int, int]:
    """Return the corrected splits, and the numbers of changed labels and removed images."""
    class_names = parts["train"].class_names
    labels = {name: part.labels.copy() for name, part in parts.items()}
    keep = {name: np.ones(len(part), bool) for name, part in parts.items()}
    requested: dict[tuple[str, int], Correction] = {}
    for correction in corrections:
        where = f"{table}, line {correction.line}"
        _check_image(parts, correction, where)
        before = requested.setdefault((correction.split, correction.number), correction)
        if before.new_label != correction.new_label:
            raise DataError(f"{where}: line {before.line} corrects the same image differently: keep one of them.")
        if correction.new_label is None:
            keep[correction.split][correction.number] = False
        elif correction.new_label not in class_names:
            raise DataError(f"{where}: {UnknownNameError('class', correction.new_label, class_names)}")
        else:
            labels[correction.split][correction.number] = class_names.index(correction.new_label)
    changed = {
        name: ImageDataset(part.images, labels[name], class_names, part.identify, part.groups).subset(
            np.flatnonzero(keep[name])
        )
        for name, part in parts.items()
    }
    removed = sum(correction.new_label is None for correction in requested.values())
    return changed, len(requested) - removed, removed


def _check_image(parts: Parts, correction: Correction, where: str) -> None:
    part = parts.get(correction.split)
    if part is None:
        raise DataError(f"{where}: split: expected {', '.join(parts)}, got {correction.split[:40]!r}.")
    known = correction.number < len(part)
    if not known or part.row_ids[correction.number].hex() != correction.content:
        raise DataError(
            f"{where}: image {correction.number} of {correction.split} is not the one that was audited: "
            "the data set is different or has changed; audit it again."
        )
    if part.class_names[part.labels[correction.number]] != correction.label:
        raise DataError(f"{where}: the image's label is no longer {correction.label!r}: audit the data set again.")


def _refuse_clashes(parts: Parts) -> None:
    """Check that files with the same content have the same label, as `train` requires."""
    if isinstance(parts["train"].images, np.ndarray):
        return
    first: dict[bytes, tuple[int, Path]] = {}
    for part in parts.values():
        for path, label, row_id in zip(part.images, part.labels.tolist(), part.row_ids, strict=True):
            known, other = first.setdefault(row_id, (label, path))
            if known != label:
                raise DataError(f"{path} and {other} have the same content: give both the same label.")


def _write_listing(parts: Parts, path: Path) -> None:
    """Write paths relative to the folder of the table, or absolute ones on another drive."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "split"])
    for name, part in parts.items():
        for image, label in zip(part.images, part.labels, strict=True):
            writer.writerow([_relative(Path(str(image)), path.parent), part.class_names[label], name])
    try:
        data = text.getvalue().encode()
    except UnicodeEncodeError as error:
        raise DataError("an image's path is not valid UTF-8, which a table needs: rename the file.") from error
    write_bytes(path, data, OTHER_OUTPUT)


def _relative(image: Path, folder: Path) -> str:
    try:
        return os.path.relpath(image.absolute(), folder.absolute())
    except ValueError:  # another drive
        return str(image.absolute())


def _write_arrays(parts: Parts, path: Path) -> None:
    arrays: dict[str, NDArray[np.generic]] = {"class_names": np.array(parts["train"].class_names)}
    for name, part in parts.items():
        arrays |= {f"x_{name}": np.asarray(part.images), f"y_{name}": part.labels}
    with replacing(path, OTHER_OUTPUT) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs mistake names for options


def read_table(path: Path) -> list[Correction]:
    """Read the corrections in an ``audit.csv``, which may be edited and shortened."""
    with reading(path, DataError, "give an audit.csv, edited or a part of it"):
        text = read_bytes(path, MAX_TABLE_BYTES).decode("utf-8-sig", "surrogateescape")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        lines = [] if missing else [(reader.line_num, line) for line in reader]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]}: expected an audit.csv with its first line, or a part of it."
        )
    read = (_correction(path, number, line) for number, line in lines)
    return [correction for correction in read if correction is not None]


def _correction(path: Path, number: int, line: dict[str, str | None]) -> Correction | None:
    where = f"{path}, line {number}"
    cells = {name: line[name] or "" for name in NEEDED}
    remove, new = cells["remove"].strip().lower(), cells["new_label"]
    if remove not in YES + NO:
        raise DataError(f"{where}: remove: expected yes or nothing, got {cells['remove'][:40]!r}.")
    if not re.fullmatch("[0-9]{1,12}", cells["number"]):
        raise DataError(f"{where}: number: expected the image's number in its split, got {cells['number'][:40]!r}.")
    if remove in NO and new in ("", cells["label"]):
        return None
    return Correction(
        number, cells["split"], int(cells["number"]), cells["label"], cells["content"], None if remove in YES else new
    )
