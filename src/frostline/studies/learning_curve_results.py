"""A learning curve: its specification, and its table, figure and summary."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.errors import ConfigError, UnknownNameError
from frostline.evaluation.metrics import logit_interval

ALL = 0  # as a number of labels per class: all of them
LABELS = (1, 5, 10, 50, 100, 500, ALL)
PRETRAINED = ("frozen", "fine-tuned")

# Name: title in tables, and whether the network itself is trained, which has a time limit.
WAYS: dict[str, tuple[str, bool]] = {
    "pixels": ("logistic regression on pixels", False),
    "random-frozen": ("random, frozen", False),
    "frozen": ("pre-trained, frozen", False),
    "fine-tuned": ("pre-trained, fine-tuned", True),
    "scratch": ("from scratch", True),
}


@dataclass(frozen=True)
class CurveSpec:
    """Specification of a learning curve.

    Attributes
    ----------
    labels : tuple of int
        Labeled images per class; 0 means all.
    ways : tuple of str
        Names from `WAYS`.
    repeats : int
        Random draws of the labeled images; within a draw, larger numbers include the images of smaller ones.
    seconds : float
        Time limit of a point that trains the network.
    train_size : int
        Image side in pixels where the network is trained.
    full : bool
        Also train the network with all labels.
    target : float
        Accuracy for which the summary reports the labels needed.
    """

    labels: tuple[int, ...] = LABELS
    ways: tuple[str, ...] = tuple(WAYS)
    repeats: int = 3
    seconds: float = 60.0
    train_size: int = 64
    full: bool = False
    target: float = 0.8

    def points(self) -> list[tuple[str, int, int]]:
        """Return all (way, labels, repeat), cheap ways first; with all labels there is only one repeat."""
        return [
            (way, labels, repeat)
            for way in WAYS
            if way in self.ways
            for labels in self.labels
            if labels != ALL or self.full or not WAYS[way][1]
            for repeat in range(self.repeats if labels != ALL else 1)
        ]


@dataclass(frozen=True)
class CurvePoint:
    """One measured point; ``labels`` is per class, 0 for all."""

    way: str
    labels: int
    repeat: int
    accuracy: float
    seconds: float
    epochs: int


def check_spec(spec: CurveSpec) -> None:
    """Raise an error for an invalid specification."""
    for way in spec.ways:
        if way not in WAYS:
            raise UnknownNameError("way", way, WAYS)
    if not spec.ways or not spec.labels:
        raise ConfigError("--ways and --labels: expected at least one of each.")
    if spec.seconds <= 0 or not 0 < spec.target < 1:
        raise ConfigError("--seconds-per-point must be above 0, --target between 0 and 1, such as 0.8.")
    if spec.repeats < 1 or any(number < 0 for number in spec.labels):
        raise ConfigError("--repeats must be 1 or more, --labels numbers per class, or all.")


def how_many(labels: int) -> str:
    """Return ``all labels`` or, for example, ``10 labels per class``."""
    return "all labels" if labels == ALL else f"{labels} label{'s' if labels > 1 else ''} per class"


@dataclass(frozen=True)
class Cell:
    """Points of one way with one number of labels.

    Attributes
    ----------
    mean, low, high : float
        Accuracy, and its 95 % interval over the repeats (Student's t, on the logit scale); NaN for one repeat.
    epochs : (int, int)
        Fewest and most of the repeats; 0 for a head in closed form.
    seconds : float
        Mean over the repeats.
    """

    way: str
    labels: int
    repeats: int
    mean: float
    low: float
    high: float
    epochs: tuple[int, int]
    seconds: float

    @property
    def accuracy_text(self) -> str:
        """The accuracy with its interval."""
        return f"{self.mean:.4f}" + ("" if math.isnan(self.low) else f" ({self.low:.4f} to {self.high:.4f})")

    @property
    def epochs_text(self) -> str:
        """For example ``12``, ``5–8``, or ``–`` without any."""
        fewest, most = self.epochs
        return "–" if not most else str(most) if fewest == most else f"{fewest}–{most}"


def tabulate(points: Sequence[CurvePoint]) -> list[Cell]:
    """Return mean and interval for each way and number of labels, in the order of the points."""
    groups: dict[tuple[str, int], list[CurvePoint]] = {}
    for point in points:
        groups.setdefault((point.way, point.labels), []).append(point)
    cells = []
    for (way, labels), group in groups.items():
        mean, half = interval([point.accuracy for point in group])
        epochs = [point.epochs for point in group]
        seconds = float(np.mean([point.seconds for point in group]))
        low, high = logit_interval(mean, half)
        cells.append(Cell(way, labels, len(group), mean, low, high, (min(epochs), max(epochs)), seconds))
    return cells


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean and half the width of its 95 % interval (Student's t), NaN for a single value."""
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, math.nan
    return mean, float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))


def labels_needed(cells: Sequence[Cell], way: str, target: float) -> tuple[str, float]:
    """Return the number of labels per class that a way needs to reach an accuracy.

    Returns
    -------
    kind, labels : str, float
        ``about`` and a number interpolated (on a logarithmic scale) between two measured ones, ``at most`` and the
        smallest measured one, or ``more than`` and the largest. Points with all labels are left out.
    """
    own = sorted((cell for cell in cells if cell.way == way and cell.labels != ALL), key=lambda cell: cell.labels)
    before = None
    for cell in own:
        if cell.mean >= target:
            if before is None:
                return "at most", cell.labels
            share = (target - before.mean) / (cell.mean - before.mean)
            return "about", before.labels * (cell.labels / before.labels) ** share
        before = cell
    return "more than", own[-1].labels if own else 0


def summarize(points: Sequence[CurvePoint], spec: CurveSpec) -> list[str]:
    """Return the results in plain sentences."""
    cells = tabulate(points)
    lines = []
    for way in spec.ways:
        kind, number = labels_needed(cells, way, spec.target)
        if number:
            shown = f"{number:.0f} label{'s' if round(number) != 1 else ''} per class"
            lines.append(f"For {_percent(spec.target)} accuracy, '{WAYS[way][0]}' needs {kind} {shown}.")
    if {"frozen", "scratch"} <= set(spec.ways):
        lines += _compared(cells, spec.target)
    scratch = {cell.labels for cell in cells if cell.way == "scratch"}
    pretrained = {cell.labels for cell in cells if cell.way in PRETRAINED}
    lines += [_difference(points, labels) for labels in spec.labels if labels in scratch & pretrained]
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:g}%"


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
        return []  # a bound on the wrong side gives no ratio
    times = f"{max(ratio, 1 / ratio):.1f} times"
    if times == "1.0 times":
        equal = {"": "about the same number of labels as", "more than ": "fewer labels than"}
        advantage = equal.get(bound, "no more labels than")
    else:
        advantage = f"{times} as many labels as" if ratio < 1 else f"{bound}{times} fewer labels than"
    return [f"Pre-trained and frozen needs {advantage} from scratch for {_percent(target)}."]


def _difference(points: Sequence[CurvePoint], labels: int) -> str:
    """Compare the better pre-trained way with training from scratch, paired by repeat (the same images)."""
    by_way: dict[str, dict[int, float]] = {}
    for point in points:
        if point.labels == labels:
            by_way.setdefault(point.way, {})[point.repeat] = point.accuracy
    pretrained = [way for way in PRETRAINED if way in by_way]
    best = max(pretrained, key=lambda way: np.mean(list(by_way[way].values())))
    differences = [by_way[best][repeat] - by_way["scratch"][repeat] for repeat in by_way["scratch"]]
    mean, half = interval(differences)
    low, high = (2 * end - 1 for end in logit_interval((1 + mean) / 2, half / 2))  # from -1 to 1
    spread = "" if math.isnan(half) else f" (95 % interval {100 * low:+.1f} to {100 * high:+.1f})"
    size = f"{abs(100 * mean):.1f}"
    relation = f"{size} points {'above' if mean > 0 else 'below'}" if float(size) else "as accurate as"
    return f"With {how_many(labels)}, '{WAYS[best][0]}' is {relation} 'from scratch'{spread}."


def write_table(cells: Sequence[Cell], path: Path) -> None:
    """Write the cells as CSV; accuracies are from 0 to 1."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = ("accuracy", "low_95", "high_95", "epochs_min", "epochs_max", "seconds")
    writer.writerow(["way", "labels_per_class", "repeats", *columns])
    for cell in cells:
        labels = "all" if cell.labels == ALL else cell.labels
        ends = ["" if math.isnan(end) else f"{end:.4f}" for end in (cell.low, cell.high)]
        epochs = [number or "" for number in cell.epochs]
        writer.writerow([cell.way, labels, cell.repeats, f"{cell.mean:.4f}", *ends, *epochs, f"{cell.seconds:.1f}"])
    write_bytes(path, text.getvalue().encode(), OTHER_OUTPUT_DIR)


def draw(cells: Sequence[Cell], spec: CurveSpec, title: str, path: Path) -> None:
    """Plot accuracy with intervals over labels per class (logarithmic; all labels at the right) as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes: Any = figure.subplots()
    colors = {"pixels": "#8a8a8a", "random-frozen": "#b08a3e", "frozen": "#0b6fa4", "fine-tuned": "#2e7d32",
               "scratch": "#c2410c"}  # fmt: skip
    numbers = sorted({cell.labels for cell in cells if cell.labels != ALL})
    right = 4 * max(numbers, default=1)  # where "all" is drawn
    for place, way in enumerate(spec.ways):
        own = sorted((right if cell.labels == ALL else cell.labels, cell.mean, cell.low, cell.high)
                      for cell in cells if cell.way == way)  # fmt: skip
        if not own:
            continue
        labels, means, lows, highs = (np.array(column, float) for column in zip(*own, strict=True))
        axes.errorbar(
            labels * 1.02 ** (place - 2), means, np.nan_to_num([means - lows, highs - means]), fmt="o-",
            color=colors[way], markersize=4, capsize=3, linewidth=1.6, elinewidth=1, label=WAYS[way][0],
        )  # fmt: skip
    axes.axhline(spec.target, color="#444444", linewidth=0.8, linestyle=":")
    ends = [end for cell in cells for end in (cell.mean, cell.low, cell.high) if not math.isnan(end)]
    axes.set_ylim(max(0.0, min(ends, default=0.0) - 0.03), min(1.0, max(ends, default=1.0) + 0.03))
    axes.set_xscale("log")
    ticks = [*numbers, *([right] if any(cell.labels == ALL for cell in cells) else [])]
    axes.set_xticks(ticks, [str(number) for number in numbers] + ["all"] * (len(ticks) - len(numbers)))
    axes.minorticks_off()
    axes.set(xlabel="labeled images per class", ylabel="test accuracy", title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)
