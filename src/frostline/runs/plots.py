"""Plots of a run in the style of its report: ``curves.png``, ``confusion.png``, or on axes of the caller."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.evaluation.class_order import order_by_similarity, row_shares
from frostline.training.checkpoint import Epoch


@dataclass(frozen=True)
class Palette:
    """Colors of a plot, as ``#rrggbb``: text, faint text, lines of the grid, and three kinds of data."""

    ink: str
    soft: str
    line: str
    first: str
    second: str
    mark: str

    @property
    def style(self) -> Any:
        """Settings of matplotlib."""
        return {
            "font.size": 11,
            "text.color": self.ink,
            "axes.edgecolor": self.line,
            "axes.labelcolor": self.soft,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": self.line,
            "grid.linewidth": 0.7,
            "xtick.color": self.line,
            "ytick.color": self.line,
            "xtick.labelcolor": self.soft,
            "ytick.labelcolor": self.soft,
        }


LIGHT = Palette("#1c2733", "#5b6b79", "#dfe5ea", "#98a6b2", "#1d6f94", "#b5531f")  # the report's, on white
RIGHT, WRONG = (29, 111, 148), (190, 90, 40)
STRONGEST = 0.9  # opacity of a share of 100 %
DPI = 130
LONGEST_NAME = 30
MOST_CLASSES = 40  # the confusion matrix of more classes grows no further: its names and squares get smaller
MOST_NAMES = 100  # more would not be legible, and take minutes to draw
MOST_COUNTS = 30  # classes; more numbers would not be legible


def plot_curve(axes: Any, history: Sequence[Epoch], best: int, quantity: str, palette: Palette) -> None:
    """Plot ``accuracy`` or ``loss`` of both splits, the best epoch (0 if unknown), each thawing and the gap."""
    from matplotlib.ticker import MaxNLocator

    epochs = [line.epoch for line in history]
    train, val = ([getattr(line, f"{split}_{quantity}") for line in history] for split in ("train", "val"))
    axes.fill_between(epochs, train, val, color=palette.second, alpha=0.1, linewidth=0)
    style: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.8, "solid_capstyle": "round"}
    axes.plot(epochs, train, "o-", color=palette.first, label="training", **style)
    axes.plot(epochs, val, "o-", color=palette.second, label="validation", **style)
    for before, line in pairwise(history):
        if line.freeze != before.freeze:
            _mark_thawing(axes, before.epoch + 0.5, line.freeze, palette)
    if 1 <= best <= len(history):
        _mark_best(axes, best, (train[best - 1], val[best - 1]), quantity, palette)
    axes.set_title(quantity.capitalize(), loc="left", fontsize=12)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(length=0)
    axes.margins(x=0.04, y=0.12)


def _mark_thawing(axes: Any, x: float, freeze: str, palette: Palette) -> None:
    axes.axvline(x, color=palette.soft, linewidth=1)
    text = "all thawed" if freeze == "none" else f"thawed above {freeze}"
    style: dict[str, Any] = {
        "rotation": 90, "ha": "right", "va": "center", "fontsize": 9, "color": palette.soft, "parse_math": False,
    }  # fmt: skip
    axes.annotate(
        text, (x, 0.5), xycoords=("data", "axes fraction"), xytext=(-3, 0), textcoords="offset points", **style
    )


def _mark_best(axes: Any, epoch: int, values: tuple[float, float], quantity: str, palette: Palette) -> None:
    train, val = values
    axes.axvline(epoch, color=palette.mark, linewidth=1.2, linestyle=(0, (2, 2)))
    axes.plot([epoch], [val], "o", color=palette.mark, markersize=6.5, label=f"best epoch ({epoch})")
    gap = abs(train - val)
    text = f"gap {100 * gap:.1f} points" if quantity == "accuracy" else f"gap {gap:.3f}"
    left = epoch > axes.get_xlim()[1] * 0.6
    axes.annotate(
        text, (epoch, (train + val) / 2), xytext=(-7 if left else 7, 0), textcoords="offset points",
        ha="right" if left else "left", va="center", fontsize=10, color=palette.mark,
    )  # fmt: skip


def new_axes(size: tuple[float, float], columns: int = 1) -> Any:
    """Return the axes of a new figure of pyplot, which notebooks show; an array of them for several columns."""
    from matplotlib import pyplot, rc_context

    with rc_context(LIGHT.style):
        return pyplot.subplots(1, columns, figsize=size, layout="constrained")[1]


def plot_curves(history: Sequence[Epoch], best_epoch: int, panels: Sequence[Any]) -> None:
    """Plot accuracy and loss of both splits over the epochs on two axes."""
    for axes, quantity in zip(panels, ("accuracy", "loss"), strict=True):
        plot_curve(axes, history, best_epoch, quantity, LIGHT)


def draw_curves(history: Sequence[Epoch], best_epoch: int, path: Path) -> None:
    """Draw accuracy and loss of both splits over the epochs as a PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(LIGHT.style):
        figure = Figure(figsize=(10.4, 3.8))
        figure.subplots_adjust(left=0.065, right=0.985, bottom=0.145, top=0.82, wspace=0.2)
        panels = figure.subplots(1, 2)
        plot_curves(history, best_epoch, panels)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper left", ncols=3, frameon=False, labelcolor=LIGHT.soft)
        _save(figure, path)


def confusion_size(classes: int) -> tuple[float, float]:
    """Return width and height in inches of a figure for a confusion matrix."""
    shown = min(classes, MOST_CLASSES)
    return max(5.0, 0.62 * shown + 2.4), max(4.4, 0.55 * shown + 1.8)


def draw_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix as a PNG; see `plot_confusion`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(LIGHT.style):
        figure = Figure(figsize=confusion_size(len(class_names)), layout="constrained")
        plot_confusion(confusion, class_names, title, figure.subplots())
        _save(figure, path)


def plot_confusion(confusion: Sequence[Sequence[int]], class_names: Sequence[str], title: str, axes: Any) -> None:
    """Draw a confusion matrix: rows are the truth, similar classes are neighbors.

    Colors are shares of the row (blue is correct, rust is wrong), numbers are images.
    """
    order = order_by_similarity(confusion)
    counts = np.array(confusion)[np.ix_(order, order)]
    shares = row_shares(counts)
    classes = len(order)
    names = [class_names[number] for number in order]
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in names]
    axes.imshow(matrix_colors(shares, STRONGEST))
    size = min(10.0, 10.0 * MOST_CLASSES / classes)
    if classes <= MOST_NAMES:
        axes.set_xticks(range(classes), names, rotation=45, ha="right", fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=size, parse_math=False)
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, loc="left", fontsize=12, parse_math=False)
    if classes <= MOST_COUNTS:
        for i, j in zip(*np.nonzero(counts), strict=True):
            ink = "white" if shares[i, j] > 0.6 else LIGHT.ink
            axes.text(j, i, counts[i, j], ha="center", va="center", color=ink, fontsize=8)


def matrix_colors(shares: Any, strongest: float) -> Any:
    """Return shares (N, N) as RGBA bytes (N, N, 4): correct predictions blue, mistakes rust, opacity by share."""
    pixels = np.empty((*shares.shape, 4), np.uint8)
    pixels[..., :3] = np.where(np.eye(len(shares), dtype=bool)[..., None], RIGHT, WRONG)
    pixels[..., 3] = np.rint(255 * strongest * np.sqrt(shares))  # the square root keeps 1 % visible
    return pixels


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it draws a box: the names stand elsewhere too
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    write_bytes(path, buffer.getvalue(), OTHER_OUTPUT_DIR)
