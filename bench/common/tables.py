"""Tables on a terminal, means with their spread, and paired differences."""

import statistics
from collections.abc import Sequence

import numpy as np


class Table:
    """Rows in columns, printed one by one.

    A column is a heading and a format: ``"images/s:>9"`` is aligned to the right and at least nine characters wide.
    """

    def __init__(self, *columns: str) -> None:
        self._formats = []
        headings = []
        for column in columns:
            heading, _, form = column.rpartition(":")
            side, width = (form[0], form[1:]) if form[0] in "<>" else ("<", form)
            self._formats.append(f"{side}{max(len(heading), int(width or 0))}")
            headings.append(heading)
        self.row(*headings)

    def row(self, *values: object) -> None:
        """Print a row."""
        cells = [f"{value!s:{form}}" for value, form in zip(values, self._formats, strict=True)]
        print("  ".join(cells).rstrip(), flush=True)


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return ``mean ± standard deviation``; a single value has none."""
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{spread}"


def paired_difference(values: Sequence[float], base: Sequence[float]) -> str:
    """Return the mean of the differences, seed by seed, and its standard error."""
    gains = np.subtract(values, base)
    error = f" ± {gains.std(ddof=1) / len(gains) ** 0.5:.4f}" if len(gains) > 1 else ""
    return f"{gains.mean():+.4f}{error}"
