"""The two images of a run: its learning curves and its confusion matrix."""

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
MOST_NAMES = 100  # more would not be legible, and take minutes to place


def draw_curves(history: Sequence[Epoch], best_epoch: int, path: Path) -> None:
    """Draw loss and accuracy of both splits over the epochs as a PNG; the best epoch and each thawing are marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.145, top=0.905, wspace=0.27)
    epochs = [line.epoch for line in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
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
    _save(figure, path)


def _mark_thawing(axes: Any, place: float, freeze: str) -> None:
    axes.axvline(place, color="#9a9a9a", linewidth=1)
    text = "all thawed" if freeze == "none" else f"thawed above {freeze}"
    look = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "color": "#555555"}
    axes.annotate(text, (place, 0.5), xycoords=("data", "axes fraction"), **look)


def draw_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix as a PNG: rows are the truth, colors are shares of the row, numbers are images."""
    from matplotlib.figure import Figure

    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    classes = len(class_names)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in class_names]
    shown = min(classes, MOST_CLASSES)
    figure = Figure(figsize=(max(5.0, 0.62 * shown + 2.4), max(4.4, 0.55 * shown + 1.8)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = min(10.0, 10.0 * MOST_CLASSES / classes)
    if classes <= MOST_NAMES:
        axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, parse_math=False)
    if classes <= 30:  # more would not be legible
        for i in range(classes):
            for j in range(classes):
                if counts[i, j]:
                    ink = "white" if shares[i, j] > 0.5 else "#222222"
                    axes.text(j, i, counts[i, j], ha="center", va="center", color=ink, fontsize=8)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it draws a box: the names stand elsewhere too
        figure.savefig(buffer, format="png", dpi=130)
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)
