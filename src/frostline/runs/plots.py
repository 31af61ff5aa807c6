"""Plots of a run with matplotlib: learning curves and the confusion matrix, as files or on axes of the caller."""

import io
import warnings
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.training.checkpoint import Epoch

LONGEST_NAME = 30
MOST_CLASSES = 40  # the confusion matrix of more classes grows no further: its names and squares get smaller
MOST_NAMES = 100  # more would not be legible, and take minutes to draw
MOST_NUMBERS = 30  # likewise


def new_axes(size: tuple[float, float], columns: int = 1) -> Any:
    """Return the axes of a new figure of pyplot, which notebooks show; an array of them for several columns."""
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=size, layout="constrained")[1]


def draw_curves(history: Sequence[Epoch], best_epoch: int, path: Path) -> None:
    """Draw the learning curves as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.145, top=0.905, wspace=0.27)
    plot_curves(history, best_epoch, figure.subplots(1, 2))
    _save(figure, path)


def plot_curves(history: Sequence[Epoch], best_epoch: int, panels: Sequence[Any]) -> None:
    """Draw loss and accuracy of both splits over the epochs on two axes; best epoch and each thawing are marked."""
    from matplotlib.ticker import MaxNLocator

    epochs = [line.epoch for line in history]
    for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        for split, color in (("train", "#7a7a7a"), ("val", "#0b6fa4")):
            values = [getattr(line, f"{split}_{quantity}") for line in history]
            axes.plot(
                epochs, values, "o-", color=color, markersize=3.5, label="validation" if split == "val" else split
            )
        for before, line in pairwise(history):
            if line.freeze != before.freeze:
                _mark_thawing(axes, before.epoch + 0.5, line.freeze)
        axes.axvline(best_epoch, color="#c2410c", linewidth=1, linestyle=":", label=f"best epoch ({best_epoch})")
        axes.set(xlabel="epoch", ylabel=quantity, title=quantity.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(frameon=False)


def _mark_thawing(axes: Any, x: float, freeze: str) -> None:
    axes.axvline(x, color="#9a9a9a", linewidth=1)
    text = "all thawed" if freeze == "none" else f"thawed above {freeze}"
    style = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "color": "#555555"}
    axes.annotate(text, (x, 0.5), xycoords=("data", "axes fraction"), **style)


def confusion_size(classes: int) -> tuple[float, float]:
    """Return width and height in inches of a figure for a confusion matrix."""
    shown = min(classes, MOST_CLASSES)
    return max(5.0, 0.62 * shown + 2.4), max(4.4, 0.55 * shown + 1.8)


def draw_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=confusion_size(len(class_names)), layout="constrained")
    plot_confusion(confusion, class_names, title, figure.subplots())
    _save(figure, path)


def plot_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, axes: Any) -> None:
    """Draw a confusion matrix: rows are the truth, colors are shares of the row, numbers are images."""
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(class_names)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in class_names]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = min(10.0, 10.0 * MOST_CLASSES / classes)
    if classes <= MOST_NAMES:
        axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, parse_math=False)
    if classes <= MOST_NUMBERS:
        for i, j in zip(*counts.nonzero(), strict=True):
            ink = "white" if shares[i, j] > 0.5 else "#222222"
            axes.text(j, i, counts[i, j], ha="center", va="center", color=ink, fontsize=8)


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it draws a box: the names stand elsewhere too
        figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)
