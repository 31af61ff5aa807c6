"""Images in a table, CSV or Parquet: a column of paths, one of labels, and perhaps one of splits and one of groups."""

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
    """List the images of a table; paths that are not absolute start from the table's folder, or from ``options.root``.

    Columns, in any order and among others: ``path`` (or ``file``, ``filename``, ``image``), ``label`` (or ``class``)
    and optionally ``split`` (a usual name, `split_of`, or nothing) and ``group`` (images of one group share a split);
    ``options`` names others. CSV may be separated by commas, semicolons, tabs or bars. A path may lack its ending.

    Returns
    -------
    Listing
        Paths that several files could be meant by are in its ``bad``.

    Raises
    ------
    DataError
        When the table cannot be read, lacks a column, or a row lacks a value.
    """
    if options.root is not None and not options.root.is_dir():
        raise DataError(f"--root {options.root}: expected a folder that the paths of {table} start from.")
    columns = _read_parquet(table) if table.suffix.lower() == ".parquet" else _read_csv(table, options)
    found = {wanted: _find(columns, wanted, options, table) for wanted in COLUMNS}
    for wanted in ("path", "label"):
        if found[wanted] is None:
            raise DataError(
                f"{table}: no column {' or '.join(COLUMNS[wanted])}: its columns are {', '.join(columns) or 'none'}; "
                f"--{wanted}-column names another."
            )
    values = [columns[name] if (name := found[wanted]) is not None else None for wanted in COLUMNS]
    paths, *_ = values
    if not paths:
        raise DataError(f"{table} has no rows: each image needs one.")
    filled = [column if column is not None else [None] * len(paths) for column in values]
    rows = [_row(table, number, *row) for number, row in enumerate(zip(*filled, strict=True), start=1)]
    return _located(rows, table, options.root or table.parent, grouped=found["group"] is not None)


Row = tuple[str, str, str | None, str | None]  # path, label, split, group


def _located(rows: Sequence[Row], table: Path, root: Path, *, grouped: bool) -> Listing:
    kept: list[tuple[Path, str, str | None, str | None]] = []
    bad = []
    endings = cache(_endings)  # each folder is listed once
    for path, label, split, group in rows:
        place, reason = _locate(root, path, endings)
        if reason:
            bad.append(BadImage(place, reason))
        else:
            kept.append((place, label, split, group))
    places, labels, splits, groups = zip(*kept, strict=True) if kept else ((), (), (), ())
    if grouped:
        log.info("%s: images of one group share a split: %s groups", table, f"{len(set(groups) - {None}):,}")
    return Listing(places, labels, splits, str(table), groups if grouped else None, tuple(bad))


def _locate(root: Path, path: str, endings_in: Callable[[Path], dict[str, list[str]]]) -> tuple[Path, str]:
    """Return the file that a path means, also without its ending or with backslashes, and why it means none."""
    place = root / path
    if os.sep == "/" and "\\" in path and not os.path.lexists(place):
        place = root / path.replace("\\", "/")
    if place.suffix.lower() in LISTED or os.path.lexists(place):
        return place, ""
    endings = endings_in(place.parent).get(place.name, [])
    if len(endings) > 1:
        return place, f"may be any of {', '.join(place.name + ending for ending in endings)}: give the ending"
    return (place.with_name(place.name + endings[0]), "") if endings else (place, "")


def _endings(folder: Path) -> dict[str, list[str]]:
    """Return for each image file's name without its ending which endings there are."""
    found: dict[str, list[str]] = {}
    try:
        paths = sorted(folder.iterdir())
    except (OSError, ValueError):  # a look at the file says what is wrong
        return found
    for path in paths:
        if path.suffix.lower() in LISTED:
            found.setdefault(path.stem, []).append(path.suffix)
    return found


def _row(table: Path, number: int, path: Any, label: Any, split: Any, group: Any) -> Row:
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise DataError(f"{table}, row {number}: expected the path of an image, got {_shown(path)}.")
    text = _text(label)
    if not text:
        raise DataError(f"{table}, row {number} ({path}): no label: give it one, or remove the row.")
    name = _text(split)
    if name and split_of(name) is None:
        raise DataError(f"{table}, row {number} ({path}): expected split train, val or test, got {_shown(split)}.")
    return path.strip(), text, split_of(name), _text(group) or None


def _text(value: Any) -> str:
    """Return a cell's text; nothing for one that is empty, which pandas writes to Parquet as NaN."""
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value).strip()


def _find(columns: Columns, wanted: str, options: SourceOptions, table: Path) -> str | None:
    """Return the name of the column that holds something, the one that ``options`` names first."""
    known = {column.strip().lower(): column for column in reversed(columns)}
    asked = getattr(options, f"{wanted}_column")
    if asked is None:
        return next((known[name] for name in COLUMNS[wanted] if name in known), None)
    if asked in columns:
        return str(asked)
    if asked.strip().lower() in known:
        return known[asked.strip().lower()]
    raise DataError(
        f"{table}: no column '{asked}' (--{wanted}-column): its columns are {', '.join(columns) or 'none'}."
        f"{did_you_mean(asked, columns)}"
    )


def _read_csv(table: Path, options: SourceOptions) -> Columns:
    with reading(table, DataError, "expected a CSV file in UTF-8: save it so"):
        text = _decoded(read_bytes(table, MAX_BYTES))
        first, _, rest = text.partition("\n")
        if first.strip().lower().startswith("sep=") and len(first.strip()) == len("sep=;"):  # Excel's note
            text, delimiter = rest, first.strip()[-1]
        else:
            delimiter = _delimiter(text, options)
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row] or [[]]
    repeated = sorted({name for name in header if name.strip() and header.count(name) > 1})
    if repeated:
        raise DataError(f"{table}: two columns are called {repeated[0]}: rename one.")
    for number, row in enumerate(rows, start=1):
        if any(cell.strip() for cell in row[len(header) :]):
            raise DataError(
                f"{table}, row {number}: {len(row)} values for {len(header)} columns separated by "
                f"{DELIMITERS.get(delimiter, repr(delimiter))}: put a value that holds one in quotes."
            )
    return {name: [row[i] if i < len(row) else None for row in rows] for i, name in enumerate(header)}


def _decoded(data: bytes) -> str:
    """Return a table's text: UTF-8, or UTF-16 where a byte order mark says so."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def _delimiter(text: str, options: SourceOptions) -> str:
    """Return what separates the header's columns: what makes the wanted names appear, else what gives most of them."""
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


def _shown(value: Any) -> str:
    return repr(value)[:40]
