"""Contact sheet of explanations: images, saliency overlays of their top classes, nearest training images."""

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frostline.report.overlay import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_ROWS = 24
DPI = 120
SIDE, SMALL, GAP = 1.6, 1.05, 0.14  # inches: images, training images, gap between them
LABEL = 0.42  # height of the two lines above an image
MARGIN, HEADER, ROW_GAP, GROUP_GAP = 0.45, 1.38, 0.2, 0.5
INK, FAINT, RULE, PAPER = "#1f2328", "#6b7280", "#e3e5e8", "#ffffff"
NEAR, NEAR_WIDTH = "NEAREST TRAINING IMAGES · SIMILARITY", 2.7
LONGEST = 20  # characters of a name above an image


@dataclass(frozen=True)
class Panel:
    """An image with two lines of text above it, and a remark over it."""

    pixels: NDArray[np.uint8]
    name: str
    figure: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Row:
    """An image, its overlays by class, and its nearest training images."""

    image: Panel
    overlays: Sequence[Panel]
    nearest: Sequence[Panel]


def draw_sheet(rows: Sequence[Row], title: str, method: str) -> bytes:
    """Return the sheet as a PNG; ``method`` describes method, stage and grid of the overlays."""
    from matplotlib.figure import Figure

    columns, near = max(len(row.overlays) for row in rows), max(len(row.nearest) for row in rows)
    begin_overlays = MARGIN + SIDE + GROUP_GAP
    end_overlays = begin_overlays + columns * (SIDE + GAP) - GAP
    begin_near = end_overlays + GROUP_GAP
    end = begin_near + max(near * (SMALL + GAP) - GAP, NEAR_WIDTH) if near else end_overlays
    width = max(end, MARGIN + 6.2) + MARGIN
    step = LABEL + SIDE + ROW_GAP
    height = HEADER + 0.42 + len(rows) * step + MARGIN - ROW_GAP
    sheet = _Sheet(Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER), width, height)
    sheet.header(title, method)
    headings = [(MARGIN, "IMAGE"), (begin_overlays, "SUPPORTS · PROBABILITY"), (begin_near, NEAR)]
    for left, heading in headings[: 3 if near else 2]:
        sheet.text(left, HEADER + 0.16, heading, size=7.5, color=FAINT, weight="bold")
    for number, row in enumerate(rows):
        top = HEADER + 0.42 + number * step
        sheet.rule(top - ROW_GAP / 2)
        sheet.panel(row.image, MARGIN, top, SIDE)
        for i, panel in enumerate(row.overlays):
            sheet.panel(panel, begin_overlays + i * (SIDE + GAP), top, SIDE)
        for i, panel in enumerate(row.nearest):
            sheet.panel(panel, begin_near + i * (SMALL + GAP), top, SMALL)
    return sheet.png()


class _Sheet:
    """A figure with coordinates in inches from its top left corner."""

    def __init__(self, figure: "Figure", width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def text(self, left: float, top: float, words: str, *, size: float, color: str = INK, **more: Any) -> None:
        style: dict[str, Any] = {"va": "baseline", "ha": "left", "parse_math": False, "color": color, **more}
        self.figure.text(left / self.width, 1 - top / self.height, words, fontsize=size, **style)

    def rule(self, top: float) -> None:
        axes = self._axes(MARGIN, top, self.width - 2 * MARGIN, 0.008)
        axes.set_facecolor(RULE)

    def header(self, title: str, method: str) -> None:
        """Write the title, the method and the color bar."""
        self.text(MARGIN, 0.55, title, size=14, weight="bold")
        note = f"{method}: regions that support the class above the image; evidence against it is not shown."
        self.text(MARGIN, 0.82, note, size=8.5, color=FAINT)
        note = "Images are shown as the network sees them."
        self.text(MARGIN, 0.99, note, size=8.5, color=FAINT)
        bar = self._axes(MARGIN, 1.12, 1.6, 0.11)
        bar.imshow(np.linspace(0, 1, 256)[None], cmap=COLORS, aspect="auto")
        self.text(MARGIN + 1.7, 1.215, "no support (0) to the maximum of each map (1)", size=8.5, color=FAINT)

    def panel(self, panel: Panel, left: float, top: float, side: float) -> None:
        self.text(left, top + 0.16, _short(panel.name, side), size=8.5)
        self.text(left, top + 0.33, panel.figure, size=8, color=FAINT)
        axes = self._axes(left, top + LABEL, side, side)
        axes.imshow(panel.pixels, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        if panel.remark:
            box = {"facecolor": INK, "edgecolor": "none", "alpha": 0.8, "boxstyle": "round,pad=0.35"}
            style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": "white"}
            axes.text(0.5, 0.09, panel.remark, transform=axes.transAxes, bbox=box, **style)

    def png(self) -> bytes:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")  # characters that the font lacks are drawn as boxes
            self.figure.savefig(buffer, format="png", facecolor=PAPER, metadata={"Software": None})
        return buffer.getvalue()

    def _axes(self, left: float, top: float, width: float, height: float) -> Any:
        bounds = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(bounds)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return axes


def _short(name: str, side: float) -> str:
    """Return a name shortened to the width of an image, unprintable characters replaced."""
    longest = max(6, int(LONGEST * side / SIDE))
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
