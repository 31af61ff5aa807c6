"""The charts of a report: learning curves, and how far probabilities can be relied on."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from frostline.evaluation.calibration import BINS, Reliability
from frostline.report.svg import FIRST, INK, LINE, MARK, SECOND, SOFT, STYLE, to_svg
from frostline.training.checkpoint import Epoch


def curves(history: Sequence[Epoch], kept: int) -> list[Markup]:
    """Draw accuracy and loss over the epochs: the kept epoch, each thawing, and the gap between the splits.

    Parameters
    ----------
    history : sequence of Epoch
    kept : int
        The number of the epoch whose weights the run keeps; 0 where none is known.
    """
    return [_curve(history, kept, quantity) for quantity in ("accuracy", "loss")]


def _curve(history: Sequence[Epoch], kept: int, quantity: str) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [line.epoch for line in history]
    train, val = ([getattr(line, f"{split}_{quantity}") for line in history] for split in ("train", "val"))
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.5))
        figure.subplots_adjust(
            left=0.125, right=0.975, bottom=0.15, top=0.91
        )  # a layout that is computed takes as long again
        axes = figure.subplots()
        axes.fill_between(epochs, train, val, color=SECOND, alpha=0.1, linewidth=0)
        look: dict[str, Any] = {"markersize": 3.5, "linewidth": 1.8, "solid_capstyle": "round"}
        axes.plot(epochs, train, "o-", color=FIRST, **look)
        axes.plot(epochs, val, "o-", color=SECOND, **look)
        for before, line in pairwise(history):
            if line.freeze != before.freeze:
                _thawing(axes, before.epoch + 0.5, line.freeze)
        if 1 <= kept <= len(history):
            _kept(axes, kept, train[kept - 1], val[kept - 1], quantity)
        axes.set_title(quantity.capitalize(), loc="left", fontsize=12)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.tick_params(length=0)
        axes.margins(x=0.04, y=0.12)
        label = f"{quantity} of training and validation over {len(history)} epochs"
        return to_svg(figure, f"curve-{quantity}", label)


def _thawing(axes: Any, place: float, freeze: str) -> None:
    axes.axvline(place, color=SOFT, linewidth=1)
    text = "all thawed" if freeze == "none" else f"thawed above {freeze}"
    look: dict[str, Any] = {
        "rotation": 90,
        "ha": "right",
        "va": "center",
        "fontsize": 9,
        "color": SOFT,
        "parse_math": False,
    }
    axes.annotate(
        text, (place, 0.5), xycoords=("data", "axes fraction"), xytext=(-3, 0), textcoords="offset points", **look
    )


def _kept(axes: Any, kept: int, train: float, val: float, quantity: str) -> None:
    axes.axvline(kept, color=MARK, linewidth=1.2, linestyle=(0, (2, 2)))
    axes.plot([kept], [val], "o", color=MARK, markersize=6.5)
    gap = abs(train - val)
    text = f"gap {100 * gap:.1f} points" if quantity == "accuracy" else f"gap {gap:.3f}"
    left = kept > axes.get_xlim()[1] * 0.6
    axes.annotate(
        text, (kept, (train + val) / 2), xytext=(-7 if left else 7, 0), textcoords="offset points",
        ha="right" if left else "left", va="center", fontsize=10, color=MARK,
    )  # fmt: skip


def diagram(found: Reliability, name: str, title: str) -> Markup:
    """Draw how often answers of each confidence are right; honest ones lie on the diagonal, dots grow with images."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    some = found.images > 0
    sure, right, images = found.confidence[some], found.accuracy[some], found.images[some]
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.0))
        figure.subplots_adjust(left=0.195, right=0.975, bottom=0.135, top=0.92)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
        axes.bar(sure, right - sure, bottom=sure, width=0.5 / BINS, color=MARK, alpha=0.35, linewidth=0)
        axes.plot(sure, right, color=SECOND, linewidth=1.4)
        axes.scatter(sure, right, s=12 + 150 * images / images.sum(), color=SECOND, linewidth=0, zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="how sure", ylabel="how often right", aspect="equal")
        axes.set_title(title, loc="left", fontsize=12, color=INK)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.tick_params(length=0, color=LINE)
        return to_svg(figure, f"reliability-{name}", f"reliability diagram, {title}")
