"""Output of `frostline predict`: predictions as a table, CSV or JSON, written batch by batch."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len

from frostline._utils.text import csv_text, printable
from frostline.cli.console import Screen
from frostline.evaluation.rejection import UNKNOWN

FORMATS = ("table", "csv", "json")
Write = Callable[[str], None]


@dataclass(frozen=True)
class FilePrediction:
    """The prediction for one file.

    Attributes
    ----------
    best : tuple of (class name, probability)
        The most probable first; empty if the file could not be read.
    error : str
        Why it could not be read, or not be sorted into its class folder.
    rejected : bool or None
        Whether the prediction counts as unknown; ``None`` without ``--reject``.
    sorted_to : Path or None
        The copy or link in the class folder.
    """

    file: Path
    best: tuple[tuple[str, float], ...] = ()
    error: str = ""
    rejected: bool | None = None
    sorted_to: Path | None = None


class Writer(ABC):
    """Writes predictions in one format."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def begin(self) -> None:  # noqa: B027 - not every format has a header
        """Write the header."""

    @abstractmethod
    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write a batch of predictions."""

    def end(self) -> None:  # noqa: B027 - not every format has a footer
        """Write the footer."""


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
    """Return the writer for one of `FORMATS`; see `CsvWriter` and `TableWriter` for the parameters."""
    if kind == "json":
        return JsonWriter(write)
    if kind == "csv":
        return CsvWriter(write, rejecting=rejecting, sorting=sorting)
    return TableWriter(write, screen, files, class_names, top, rejecting=rejecting)


class CsvWriter(Writer):
    """One line for each class of each file; a file that could not be read has one line with the reason.

    Columns: file, rank, class, probability, error; then ``rejected`` (true or false) and ``sorted_to`` if requested.
    Names that a spreadsheet would read as formulas are prefixed with ``'``.
    """

    def __init__(self, write: Write, *, rejecting: bool, sorting: bool) -> None:
        super().__init__(write)
        self._rejecting, self._sorting = rejecting, sorting

    def begin(self) -> None:
        """Write the header."""
        extra = ["rejected"] * self._rejecting + ["sorted_to"] * self._sorting
        self._lines([["file", "rank", "class", "probability", "error", *extra]])

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write a batch of predictions."""
        lines = []
        for prediction in predictions:
            extra = [("true" if prediction.rejected else "false") if prediction.best else ""] * self._rejecting
            extra += [_cell(str(prediction.sorted_to or ""))] * self._sorting
            file = _cell(str(prediction.file))
            for rank, (name, probability) in enumerate(prediction.best, 1):
                lines.append([file, str(rank), _cell(name), f"{probability:.6f}", _cell(prediction.error), *extra])
            if not prediction.best:
                lines.append([file, "", "", "", _cell(prediction.error), *extra])
        self._lines(lines)

    def _lines(self, lines: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(lines)
        self._write(text.getvalue())


class JsonWriter(Writer):
    """A list with one object per file, in ASCII."""

    def __init__(self, write: Write) -> None:
        super().__init__(write)
        self._separator = ""

    def begin(self) -> None:
        """Open the list."""
        self._write("[")

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write a batch of predictions."""
        for prediction in predictions:
            text = json.dumps(_as_json(prediction), indent=2).replace("\n", "\n  ")
            self._write(f"{self._separator}\n  {text}")
            self._separator = ","

    def end(self) -> None:
        """Close the list."""
        self._write("\n]\n")


class TableWriter(Writer):
    """A line for each file, columns as wide as the longest names.

    Parameters
    ----------
    write : callable
    screen : Screen or None
        Where the table is shown; a table wider than the terminal is wrapped.
    files, class_names : sequence
        All possible files and class names, for the column widths.
    top : int
        Number of classes per file.
    rejecting : bool
        Whether predictions may count as unknown.
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
        super().__init__(write)
        self._columns = ["file", "best", *map(str, range(2, min(top, len(class_names)) + 1))]
        name = max(cell_len(printable(name)) for name in class_names) + len(" 0.000")
        guess = name + len(f"{UNKNOWN} (best guess )") if rejecting else name
        file = max(cell_len(printable(str(file))) for file in files)
        self._widths = [max(file, len("file")), guess, *[name] * (len(self._columns) - 2)]
        total = sum(self._widths) + 2 * len(self._widths)
        folded = screen is not None and screen.console.is_terminal and total > screen.console.width
        self._screen = screen if folded else None

    def begin(self) -> None:
        """Write the header."""
        if self._screen is None:  # a wrapped table repeats its header with each batch
            self._write(self._line(self._columns))

    def rows(self, predictions: Sequence[FilePrediction]) -> None:
        """Write a batch of predictions."""
        cells = [[printable(str(prediction.file)), *self._cells(prediction)] for prediction in predictions]
        if self._screen is None:
            self._write("".join(map(self._line, cells)))
        else:
            self._screen.table(self._columns, cells, left=len(self._columns))

    def _cells(self, prediction: FilePrediction) -> list[str]:
        if not prediction.best:
            return [f"cannot be used: {printable(prediction.error)}"]
        cells = [f"{printable(name)} {probability:.3f}" for name, probability in prediction.best]
        return [f"{UNKNOWN} (best guess {cells[0]})", *cells[1:]] if prediction.rejected else cells

    def _line(self, cells: Sequence[str]) -> str:
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, self._widths, strict=False))
        return "  ".join(padded).rstrip() + "\n"


def _as_json(prediction: FilePrediction) -> dict[str, object]:
    value: dict[str, object] = {
        "file": str(prediction.file),
        "predictions": [{"class": name, "probability": probability} for name, probability in prediction.best],
    }
    if prediction.error:
        value["error"] = prediction.error
    if prediction.rejected is not None:
        value["rejected"] = prediction.rejected
    if prediction.sorted_to is not None:
        value["sorted_to"] = str(prediction.sorted_to)
    return value


def _cell(text: str) -> str:
    return csv_text(printable(text))
