"""Predictions of image files as a table, CSV or JSON, written as they come."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.cells import cell_len

from frostline._utils.text import csv_text, printable
from frostline.cli.console import Screen
from frostline.evaluation.rejection import UNKNOWN

FORMATS = ("table", "csv", "json")
Write = Callable[[str], None]


@dataclass(frozen=True)
class FilePrediction:
    """What is said of one file.

    Attributes
    ----------
    best : tuple of (class name, probability)
        The most probable first; empty when the file could not be read.
    error : str
        Why it could not be read, or not be put where it belongs.
    rejected : bool or None
        Whether the answer counts as unknown; ``None`` when that was not asked.
    sorted_to : Path or None
        Where it was put.
    """

    file: Path
    best: tuple[tuple[str, float], ...] = ()
    error: str = ""
    rejected: bool | None = None
    sorted_to: Path | None = None


class Writer(Protocol):
    """Writes predictions of one format."""

    def begin(self) -> None:
        """Write what comes first."""

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write some predictions."""

    def end(self) -> None:
        """Write what comes last."""


def make_writer(
    kind: str,
    write: Write,
    screen: Screen | None,
    files: Sequence[Path],
    class_names: Sequence[str],
    top: int,
    *,
    rejecting: bool,
    sorting: bool,
) -> Writer:
    """Return what writes one of `FORMATS`; see `CsvWriter` and `TableWriter` for the parameters."""
    if kind == "json":
        return JsonWriter(write)
    if kind == "csv":
        return CsvWriter(write, rejecting=rejecting, sorting=sorting)
    return TableWriter(write, screen, files, class_names, top, rejecting=rejecting)


class CsvWriter:
    """One line for each class of each file; a file that could not be read has one line with the reason.

    Columns: file, rank, class, probability, error; then ``rejected`` (true or false) and ``sorted_to`` where they were
    asked for. Names that a spreadsheet would take for formulas have a ``'`` before them.
    """

    def __init__(self, write: Write, *, rejecting: bool, sorting: bool) -> None:
        self._write, self._rejecting, self._sorting = write, rejecting, sorting

    def begin(self) -> None:
        """Write the heading."""
        extra = ["rejected"] * self._rejecting + ["sorted_to"] * self._sorting
        self._lines([["file", "rank", "class", "probability", "error", *extra]])

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write some predictions."""
        lines = []
        for one in predictions:
            extra = [("true" if one.rejected else "false") if one.best else ""] * self._rejecting
            extra += [_cell(str(one.sorted_to or ""))] * self._sorting
            file = _cell(str(one.file))
            for rank, (name, probability) in enumerate(one.best, 1):
                lines.append([file, str(rank), _cell(name), f"{probability:.6f}", _cell(one.error), *extra])
            if not one.best:
                lines.append([file, "", "", "", _cell(one.error), *extra])
        self._lines(lines)

    def end(self) -> None:
        """Nothing comes last."""

    def _lines(self, lines: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._write(text.getvalue())


class JsonWriter:
    """A list with one object for each file, in ASCII: any reader of it can show it."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._begun = False

    def begin(self) -> None:
        """Open the list."""
        self._write("[")

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write some predictions."""
        for one in predictions:
            text = json.dumps(_as_json(one), indent=2).replace("\n", "\n  ")
            self._write(f"{',' if self._begun else ''}\n  {text}")
            self._begun = True

    def end(self) -> None:
        """Close the list."""
        self._write("\n]\n")


class TableWriter:
    """A line for each file, columns as wide as the longest names.

    Parameters
    ----------
    write : callable
    screen : Screen or None
        A terminal, where a table that is too wide for it is folded.
    files, class_names : sequence
        All that may come, for the widths.
    top : int
        How many classes are named.
    rejecting : bool
        Whether answers may count as unknown.
    """

    def __init__(
        self,
        write: Write,
        screen: Screen | None,
        files: Sequence[Path],
        class_names: Sequence[str],
        top: int,
        *,
        rejecting: bool,
    ) -> None:
        self._write = write
        self._columns = ["file", "best", *map(str, range(2, min(top, len(class_names)) + 1))]
        name = max(cell_len(printable(name)) for name in class_names) + len(" 0.000")
        guess = name + len(f"{UNKNOWN} (best guess )") if rejecting else name
        file = max(cell_len(printable(str(file))) for file in files)
        self._widths = [max(file, len("file")), guess, *[name] * (len(self._columns) - 2)]
        total = sum(self._widths) + 2 * len(self._widths)
        folded = screen is not None and screen.console.is_terminal and total > screen.console.width
        self._screen = screen if folded else None

    def begin(self) -> None:
        """Write the heading, unless the first rows bring it."""
        if self._screen is None:
            self._write(self._line(self._columns))

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write some predictions."""
        cells = [[printable(str(one.file)), *self._cells(one)] for one in predictions]
        if self._screen is None:
            self._write("".join(map(self._line, cells)))
        else:
            self._screen.table(self._columns, cells, left=len(self._columns))

    def end(self) -> None:
        """Nothing comes last."""

    def _cells(self, one: FilePrediction) -> list[str]:
        if not one.best:
            return [f"cannot be used: {printable(one.error)}"]
        said = [f"{printable(name)} {probability:.3f}" for name, probability in one.best]
        return [f"{UNKNOWN} (best guess {said[0]})", *said[1:]] if one.rejected else said

    def _line(self, cells: Sequence[str]) -> str:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=False))
        return "  ".join(padded).rstrip() + "\n"


def _as_json(one: FilePrediction) -> dict[str, object]:
    found: dict[str, object] = {
        "file": str(one.file),
        "predictions": [{"class": name, "probability": probability} for name, probability in one.best],
    }
    if one.error:
        found["error"] = one.error
    if one.rejected is not None:
        found["rejected"] = one.rejected
    if one.sorted_to is not None:
        found["sorted_to"] = str(one.sorted_to)
    return found


def _cell(text: str) -> str:
    return csv_text(printable(text))
