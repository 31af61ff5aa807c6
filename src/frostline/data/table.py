"""List images in a CSV or Parquet table: columns of paths and labels, and optionally of splits and groups."""

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from frostline._utils.files import read_bytes, reading
from frostline._utils.progress import log
from frostline.data.dataset import BadImage
from frostline.data.folder import LISTED
from frostline.data.listing import DEFAULTS, Listing, SourceOptions
from frostline.data.names import split_of
from frostline.errors import DataError, did_you_mean, require

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "image"),
    "label": ("label", "class"),
    "split": ("split",),
    "group": ("group",),
}
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MAX_BYTES = 1 << 30
Columns = dict[str, Sequence[Any]]


def list_table(table: Path, options: SourceOptions = DEFAULTS) -> Listing:
    """List the images of a table; relative paths start from the table's folder, or from ``options.root``.

    Columns, in any order and among others: ``path`` (or ``file``, ``filename``, ``image``), ``label`` (or ``class``)
    and optionally ``split`` (a usual name, `split_of`, or empty) and ``group`` (images of one group share a split);
    ``options`` gives other names. CSV may be separated by commas, semicolons, tabs or bars. A path may omit its ending;
    paths that match several files are in the listing's ``bad``.

    Raises
    ------
    DataError
        When the table cannot be read, lacks a column, or a row lacks a value.
    """
    if options.root is not None and not options.root.is_dir():
        raise DataError(f"--root {options.root}: expected a folder that the paths of {table} start from.")
    columns = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table, options)
    names = {role: _find_column(columns, role, options, table) for role in COLUMNS}
    for role in ("path", "label"):
        if names[role] is None:
            raise DataError(
                f"{table}: no column {' or '.join(COLUMNS[role])}: its columns are {', '.join(columns) or 'none'}; "
                f"use --{role}-column for another name."
            )
    count = len(next(iter(columns.values())))
    if not count:
        raise DataError(f"{table} has no rows: each image needs one.")
    values = [columns[name] if name is not None else [None] * count for name in names.values()]
    rows = [_row(table, number, *row) for number, row in enumerate(zip(*values, strict=True), start=1)]
    return _resolve_paths(rows, table, options.root or table.parent, grouped=names["group"] is not None)


Row = tuple[str, str, str | None, str | None]  # path, label, split, group


def _resolve_paths(rows: Sequence[Row], table: Path, root: Path, *, grouped: bool) -> Listing:
    resolved: list[tuple[Path, str, str | None, str | None]] = []
    bad = []
    endings = cache(_endings)  # each folder is listed once
    for name, label, split, group in rows:
        path, reason = _resolve_path(root, name, endings)
        if reason:
            bad.append(BadImage(path, reason))
        else:
            resolved.append((path, label, split, group))
    paths, labels, splits, groups = zip(*resolved, strict=True) if resolved else ((), (), (), ())
    if grouped:
        log.info("%s: images of one group share a split: %s groups", table, f"{len(set(groups) - {None}):,}")
    return Listing(paths, labels, splits, str(table), groups if grouped else None, tuple(bad))


def _resolve_path(root: Path, name: str, endings_in: Callable[[Path], dict[str, list[str]]]) -> tuple[Path, str]:
    """Return the file that a path in a table means, even with backslashes or without its ending, and any problem."""
    path = root / name
    if os.sep == "/" and "\\" in name and not os.path.lexists(path):
        path = root / name.replace("\\", "/")
    if path.suffix.lower() in LISTED or os.path.lexists(path):
        return path, ""
    endings = endings_in(path.parent).get(path.name, [])
    if len(endings) > 1:
        return path, f"may be any of {', '.join(path.name + ending for ending in endings)}: add the ending"
    return (path.with_name(path.name + endings[0]), "") if endings else (path, "")


def _endings(folder: Path) -> dict[str, list[str]]:
    """Return the endings of the image files in a folder, by the names without them."""
    endings: dict[str, list[str]] = {}
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError):  # the scan reports the problem
        return endings
    for path in paths:
        if path.suffix.lower() in LISTED:
            endings.setdefault(path.stem, []).append(path.suffix)
    return endings


def _row(table: Path, number: int, path: Any, label: Any, split: Any, group: Any) -> Row:
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise DataError(f"{table}, row {number}: expected the path of an image, got {repr(path)[:40]}.")
    text = _text(label)
    if not text:
        raise DataError(f"{table}, row {number} ({path}): no label: add one, or remove the row.")
    name = _text(split)
    if name and split_of(name) is None:
        raise DataError(f"{table}, row {number} ({path}): expected split train, val or test, got {repr(split)[:40]}.")
    return path.strip(), text, split_of(name), _text(group) or None


def _text(value: Any) -> str:
    """Return a cell's text; an empty cell may be NaN, as pandas writes it to Parquet."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _find_column(columns: Columns, role: str, options: SourceOptions, table: Path) -> str | None:
    """Return the name of the column with a role: the one in ``options``, or a usual name; ``None`` without either."""
    known = {column.strip().lower(): column for column in reversed(columns)}
    requested = getattr(options, f"{role}_column")
    if requested is None:
        return next((known[name] for name in COLUMNS[role] if name in known), None)
    if requested in columns:
        return str(requested)
    if requested.strip().lower() in known:
        return known[requested.strip().lower()]
    raise DataError(
        f"{table}: no column '{requested}' (--{role}-column): its columns are {', '.join(columns) or 'none'}."
        f"{did_you_mean(requested, columns)}"
    )


def _read_csv(table: Path, options: SourceOptions) -> Columns:
    with reading(table, DataError, "expected a CSV file in UTF-8: save it as UTF-8"):
        data = read_bytes(table, MAX_BYTES)
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        first, _, rest = text.partition("\n")
        if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):  # Excel's note
            text, delimiter = rest, first.strip()[-1]
        else:
            delimiter = _delimiter(text, options)
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row] or [[]]
    repeated = sorted({name for name in header if name.strip() and header.count(name) > 1})
    if repeated:
        raise DataError(f"{table}: two columns have the name {repeated[0]}: rename one.")
    for number, row in enumerate(rows, start=1):
        if any(cell.strip() for cell in row[len(header) :]):
            raise DataError(
                f"{table}, row {number}: {len(row)} values for {len(header)} columns separated by "
                f"{DELIMITERS.get(delimiter, repr(delimiter))}: quote values that contain one."
            )
    return {name: [row[i] if i < len(row) else None for row in rows] for i, name in enumerate(header)}


def _delimiter(text: str, options: SourceOptions) -> str:
    """Return the delimiter that yields most of the wanted column names in the header, then most columns."""
    wanted = {name for names in COLUMNS.values() for name in names}
    wanted |= {name.lower() for name in (options.path_column, options.label_column) if name}

    def rank(delimiter: str) -> tuple[int, int]:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        return len(wanted & {name.strip().lower() for name in header}), len(header)

    return max(DELIMITERS, key=rank)


def _read_parquet(table: Path) -> Columns:
    require(f"{table}: reading Parquet", "parquet", "pyarrow", error=DataError)
    from pyarrow import parquet

    with reading(table, DataError, "expected a Parquet file"):
        return dict(parquet.ParquetFile(table).read().to_pydict())
