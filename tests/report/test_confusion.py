"""The confusion matrix of a report."""

import base64
import csv
import io

import numpy as np

from frostline.report.confusion import MOST_CLASSES, MOST_PAIRS, describe_confusion


def test_file_has_every_cell_with_images_and_no_formula() -> None:
    names = ["=1+1", 'a,"b"', "c"]
    url = describe_confusion([[2, 1, 0], [0, 3, 0], [0, 0, 0]], names).csv
    text = base64.b64decode(url.removeprefix("data:text/csv;base64,")).decode()
    lines = list(csv.reader(io.StringIO(text)))
    assert lines == [["truth", "predicted", "images"], ["'=1+1", "'=1+1", "2"], ["'=1+1", names[1], "1"],
                     [names[1], names[1], "3"]]  # fmt: skip


def test_cells_say_images_share_and_class() -> None:
    found = describe_confusion([[199, 1], [0, 0]], ["cat", "dog"])
    first, second = found.rows
    assert (first.name, first.images, second.images) == ("cat", 200, 0)
    assert [(cell.images, cell.percent, cell.column, cell.correct) for cell in first.cells] == [
        (199, "100", "cat", True), (1, "<1", "dog", False)
    ]  # fmt: skip
    assert found.pairs == [] and found.kinds == 1


def test_many_classes_have_the_worst_pairs_first() -> None:
    counts = np.diag(np.full(MOST_CLASSES + 1, 10))
    counts[3, 5], counts[4, 6], counts[4, 4] = 4, 4, 2  # equal numbers: the larger share first
    counts[7, 8] = 5
    names = [f"c{number}" for number in range(len(counts))]
    found = describe_confusion(counts.tolist(), names)
    assert found.rows == [] and found.kinds == 3
    assert [(pair.truth, pair.predicted, pair.images, pair.total) for pair in found.pairs] == [
        ("c7", "c8", 5, 15), ("c4", "c6", 4, 6), ("c3", "c5", 4, 14)
    ]  # fmt: skip
    full = describe_confusion(np.ones_like(counts).tolist(), names)
    assert (len(full.pairs), full.kinds) == (MOST_PAIRS, 41 * 40)
