"""The confusion matrix of a report: similar classes side by side, the worst pairs of many classes, and a CSV file."""

import csv
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline._utils.text import csv_text
from frostline.data.encoding import data_url
from frostline.evaluation.class_order import order_by_similarity, row_shares

MOST_CLASSES = 40  # of a matrix; more have the worst pairs
MOST_PAIRS = 40
FAINTEST = 0.06  # opacity of the smallest share; 1 is that of 100 %


@dataclass(frozen=True)
class MatrixCell:
    """Images of a true class with one prediction.

    Attributes
    ----------
    images : int
    percent : str
        Share of the row as text.
    opacity : float
        Of the color, 0 to 1.
    column : str
        The predicted class.
    correct : bool
    """

    images: int
    percent: str
    opacity: float
    column: str
    correct: bool


@dataclass(frozen=True)
class MatrixRow:
    """A true class, its number of images and its predictions."""

    name: str
    images: int
    cells: list[MatrixCell]


@dataclass(frozen=True)
class MistakenPair:
    """The images of class ``truth`` that were predicted as ``predicted``, as a number and a share of the class."""

    truth: str
    predicted: str
    images: int
    total: int

    @property
    def share(self) -> float:
        """The share of the class, 0 to 1."""
        return self.images / self.total


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix to show: rows of up to 40 classes, or the worst pairs of more.

    Attributes
    ----------
    rows : list of MatrixRow
        By similarity; the columns have the same order.
    pairs : list of MistakenPair
        Most images first.
    kinds : int
        Number of pairs that were confused, shown or not.
    csv : str
        A ``data:`` URL of all cells with images: true class, predicted class, images.
    """

    rows: list[MatrixRow]
    pairs: list[MistakenPair]
    kinds: int
    csv: str


def describe_confusion(confusion: list[list[int]], names: list[str]) -> Confusion:
    """Arrange the confusion matrix of some classes; rows are the truth."""
    counts = np.array(confusion)
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    file = _csv(counts, names)
    if len(names) > MOST_CLASSES:
        return Confusion([], _pairs(wrong, counts.sum(1), names), int(np.count_nonzero(wrong)), file)
    order = order_by_similarity(counts)
    shares = row_shares(counts)
    rows = [
        MatrixRow(
            names[i],
            int(counts[i].sum()),
            [_cell(int(counts[i, j]), float(shares[i, j]), names[j], i == j) for j in order],
        )
        for i in order
    ]
    return Confusion(rows, [], int(np.count_nonzero(wrong)), file)


def _cell(images: int, share: float, column: str, correct: bool) -> MatrixCell:
    percent = "0" if not images else "<1" if share < 0.01 else f"{100 * share:.0f}"
    opacity = round(FAINTEST + (1 - FAINTEST) * share**0.5, 2)  # the square root keeps 1 % visible
    return MatrixCell(images, percent, opacity, column, correct)


def _pairs(wrong: NDArray[np.int64], totals: NDArray[np.int64], names: list[str]) -> list[MistakenPair]:
    """Return the pairs with the most images; of equal ones, the larger share of the class first."""
    truths, guesses = np.nonzero(wrong)
    images = wrong[truths, guesses]
    order = np.lexsort((-images / totals[truths], -images))[:MOST_PAIRS]
    return [MistakenPair(names[truths[i]], names[guesses[i]], int(images[i]), int(totals[truths[i]])) for i in order]


def _csv(counts: NDArray[np.int64], names: list[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["truth", "predicted", "images"])
    for i, j in zip(*np.nonzero(counts), strict=True):
        writer.writerow([csv_text(names[i]), csv_text(names[j]), counts[i, j]])
    return data_url(text.getvalue().encode(errors="replace"), "text/csv")
