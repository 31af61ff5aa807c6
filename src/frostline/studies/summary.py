"""What the points of a curve say: a table with intervals, an image, plain sentences."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.storage import write_bytes
from frostline.studies.points import ALL, WAYS, CurvePoint, CurveSpec, how_many

PRETRAINED = ("frozen", "fine-tuned")
REMEDY = "--output-dir chooses another place"


@dataclass(frozen=True)
class Cell:
    """The points of one way with one number of labels.

    Attributes
    ----------
    mean, half_width : float
        Accuracy, and half of its 95 % interval over the repeats (Student's t); not a number for a single repeat.
    seconds : float
        Mean.
    """

    way: str
    labels: int
    repeats: int
    mean: float
    half_width: float
    seconds: float


def tabulate(points: Sequence[CurvePoint]) -> list[Cell]:
    """Return mean and interval for each way and number of labels, in the points' order."""
    groups: dict[tuple[str, int], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault((point.way, point.labels), []).append(point)
    cells = []
    for (way, labels), group in groups.items():
        mean, half = interval([point.accuracy for point in group])
        cells.append(Cell(way, labels, len(group), mean, half, float(np.mean([point.seconds for point in group]))))
    return cells


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % interval (Student's t); not a number for a single value."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def labels_needed(cells: Sequence[Cell], way: str, target: float) -> tuple[str, float]:
    """Return how many labels per class a way needs for an accuracy.

    Returns
    -------
    kind, labels : str, float
        ``about`` and a number between two measured ones, interpolated over the logarithm; ``at most`` and the smallest
        that was measured; ``more than`` and the largest. All labels at once count as no number.
    """
    mine = sorted((cell for cell in cells if cell.way == way and cell.labels != ALL), key=lambda cell: cell.labels)
    before = None
    for cell in mine:
        if cell.mean >= target:
            if before is None:
                return "at most", cell.labels
            share = (target - before.mean) / (cell.mean - before.mean)
            return "about", before.labels * (cell.labels / before.labels) ** share
        before = cell
    return "more than", mine[-1].labels if mine else 0


def summary(points: Sequence[CurvePoint], question: CurveSpec) -> list[str]:
    """Say in plain sentences what the points say, whatever that is."""
    cells = tabulate(points)
    lines = []
    for way in question.ways:
        kind, number = labels_needed(cells, way, question.target)
        if number:
            shown = f"{number:.0f} label{'s' if round(number) != 1 else ''} per class"
            lines.append(f"For {question.target:.0%} accuracy, '{WAYS[way][0]}' needs {kind} {shown}.")
    if {"frozen", "scratch"} <= set(question.ways):
        lines += _compared(cells, question.target)
    scratch = {cell.labels for cell in cells if cell.way == "scratch"}
    pretrained = {cell.labels for cell in cells if cell.way in PRETRAINED}
    lines += [_difference(points, labels) for labels in question.labels if labels in scratch & pretrained]
    return lines


def _compared(cells: Sequence[Cell], target: float) -> list[str]:
    (kind, few), (other, many) = (labels_needed(cells, way, target) for way in ("frozen", "scratch"))
    if not few or kind == "more than":
        return []
    word = {("about", "about"): "", ("about", "more than"): "more than ", ("at most", "about"): "at least "}
    bound = word.get((kind, other))
    if bound is None:
        return []
    ratio = many / few
    if ratio < 1 and bound:
        return []  # a bound on the wrong side says nothing
    if ratio < 1:
        return [f"Pre-trained and frozen needs {1 / ratio:.1f} times as many labels as from scratch for {target:.0%}."]
    return [f"Pre-trained and frozen needs {bound}{ratio:.1f} times fewer labels than from scratch for {target:.0%}."]


def _difference(points: Sequence[CurvePoint], labels: int) -> str:
    """Compare the better pre-trained way with training from scratch, repeat by repeat on the same images."""
    by_way: dict[str, dict[int, float]] = {}
    for point in points:
        if point.labels == labels:
            by_way.setdefault(point.way, {})[point.repeat] = point.accuracy
    pretrained = [way for way in PRETRAINED if way in by_way]
    best = max(pretrained, key=lambda way: np.mean(list(by_way[way].values())))
    differences = [by_way[best][repeat] - by_way["scratch"][repeat] for repeat in by_way["scratch"]]
    mean, half = interval(differences)
    spread = "" if math.isnan(half) else f" (95 % interval {100 * (mean - half):+.1f} to {100 * (mean + half):+.1f})"
    return (
        f"With {how_many(labels)}, '{WAYS[best][0]}' is {abs(100 * mean):.1f} points "
        f"{'above' if mean >= 0 else 'below'} 'from scratch'{spread}."
    )


def write_table(cells: Sequence[Cell], path: Path) -> None:
    """Write the cells as CSV; accuracies are shares."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["way", "labels_per_class", "repeats", "accuracy", "half_width_95", "seconds"])
    for cell in cells:
        labels = "all" if cell.labels == ALL else cell.labels
        half = "" if math.isnan(cell.half_width) else f"{cell.half_width:.4f}"
        writer.writerow([cell.way, labels, cell.repeats, f"{cell.mean:.4f}", half, f"{cell.seconds:.1f}"])
    write_bytes(path, text.getvalue().encode(), REMEDY)


def draw(cells: Sequence[Cell], question: CurveSpec, title: str, path: Path) -> None:
    """Draw accuracy over labels per class (logarithmic) as a PNG, with intervals; all labels stand at the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes: Any = figure.subplots()
    colors = {"pixels": "#8a8a8a", "random-frozen": "#b08a3e", "frozen": "#0b6fa4", "fine-tuned": "#2e7d32",
               "scratch": "#c2410c"}  # fmt: skip
    numbers = sorted({cell.labels for cell in cells if cell.labels != ALL})
    right = 4 * max(numbers, default=1)  # where "all" is drawn
    for place, way in enumerate(question.ways):
        mine = sorted((right if cell.labels == ALL else cell.labels, cell.mean, cell.half_width)
                      for cell in cells if cell.way == way)  # fmt: skip
        if not mine:
            continue
        labels, means, halves = (np.array(column, float) for column in zip(*mine, strict=True))
        axes.errorbar(
            labels * 1.02 ** (place - 2), means, np.nan_to_num(halves), fmt="o-", color=colors[way], markersize=4,
            capsize=3, linewidth=1.6, elinewidth=1, label=WAYS[way][0],
        )  # fmt: skip
    axes.axhline(question.target, color="#444444", linewidth=0.8, linestyle=":")
    heights = [cell.mean for cell in cells]
    axes.set_ylim(max(0.0, min(heights, default=0.0) - 0.08), min(1.0, max(heights, default=1.0) + 0.05))
    axes.set_xscale("log")
    ticks = [*numbers, *([right] if any(cell.labels == ALL for cell in cells) else [])]
    axes.set_xticks(ticks, [str(number) for number in numbers] + ["all"] * (len(ticks) - len(numbers)))
    axes.minorticks_off()
    axes.set(xlabel="labeled images per class", ylabel="test accuracy", title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), REMEDY)
