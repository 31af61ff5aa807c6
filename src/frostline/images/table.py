"""Pictures in a table, CSV or Parquet: a column of paths, one of labels, and perhaps one of splits."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from frostline.errors import DataError, first_line
from frostline.images.listing import SPLIT_NAMES, Listing

COLUMNS = {"path": ("path", "file", "filename", "image"), "label": ("label", "class"), "split": ("split",)}


def list_table(table: Path) -> Listing:
    """List the pictures of a table; paths that are not absolute start from the table's folder.

    Columns, in any order and among others: ``path`` (or ``file``, ``filename``, ``image``), ``label`` (or ``class``)
    and optionally ``split`` (train; val, valid or validation; test; or nothing).

    Raises
    ------
    DataError
        When the table cannot be read, lacks a column, or a row lacks a value.
    """
    columns = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table)
    found = {wanted: _find(columns, names) for wanted, names in COLUMNS.items()}
    for wanted in ("path", "label"):
        if found[wanted] is None:
            raise DataError(
                f"{table}: no column {' or '.join(COLUMNS[wanted])}: its columns are {', '.join(columns) or 'none'}."
            )
    paths, labels = (columns[found[wanted] or ""] for wanted in ("path", "label"))
    splits: Sequence[Any] = columns[found["split"]] if found["split"] is not None else [None] * len(paths)
    if not len(paths):
        raise DataError(f"{table} has no rows: each picture needs one.")
    rows = [
        _row(table, number, *values) for number, values in enumerate(zip(paths, labels, splits, strict=True), start=1)
    ]
    return Listing(
        tuple(table.parent / path for path, _, _ in rows),
        tuple(label for _, label, _ in rows),
        tuple(split for _, _, split in rows),
        str(table),
    )


def _row(table: Path, number: int, path: Any, label: Any, split: Any) -> tuple[str, str, str | None]:
    if not isinstance(path, str) or not path.strip():
        raise DataError(f"{table}, row {number}: expected the path of a picture, got {_shown(path)}.")
    text = "" if label is None else str(label).strip()
    if not text:
        raise DataError(f"{table}, row {number} ({path}): no label: give it one, or remove the row.")
    name = "" if split is None else str(split).strip().lower()
    if name and name not in SPLIT_NAMES:
        raise DataError(f"{table}, row {number} ({path}): expected split train, val or test, got {_shown(split)}.")
    return path.strip(), text, SPLIT_NAMES.get(name)


def _find(columns: dict[str, Sequence[Any]], names: Sequence[str]) -> str | None:
    known = {column.strip().lower(): column for column in reversed(columns)}
    return next((known[name] for name in names if name in known), None)


def _read_csv(table: Path) -> dict[str, Sequence[Any]]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
            return {name: [row[name] for row in rows] for name in reader.fieldnames or ()}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no readable CSV file in UTF-8: {first_line(error)}.") from error


def _read_parquet(table: Path) -> dict[str, Sequence[Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{table}: reading Parquet needs pyarrow: pip install 'frostline[parquet]'.") from error
    try:
        return dict(parquet.ParquetFile(table).read().to_pydict())
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{table} is no readable Parquet file: {first_line(error)}.") from error


def _shown(value: Any) -> str:
    return repr(value)[:40]
