"""Charts of a report as SVG in the colors of the page: learning curves and reliability diagrams."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from frostline.evaluation.calibration import Reliability
from frostline.evaluation.metrics import Predictions
from frostline.runs.embedding_index import Index
from frostline.runs.plots import Palette, plot_curve
from frostline.training.checkpoint import Epoch

# Placeholder colors, replaced by the CSS variables of the page, which has a light and a dark scheme.
PAGE = Palette("#010101", "#020202", "#030303", "#040404", "#050505", "#060606")
VARIABLES = {
    PAGE.ink: "var(--ink)",
    PAGE.soft: "var(--soft)",
    PAGE.line: "var(--line)",
    PAGE.first: "var(--quiet)",
    PAGE.second: "var(--accent)",
    PAGE.mark: "var(--warm)",
}
STYLE: Any = {  # of matplotlib
    **PAGE.style, "svg.fonttype": "none", "svg.hashsalt": "frostline",
    "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (5, 2, 1.5, 2)))  # of the third run on, colors repeat


def curves(history: Sequence[Epoch], best: int) -> list[Markup]:
    """Plot accuracy and loss over the epochs, with the best epoch (0 if unknown), each thawing and the gap."""
    label = f"over {len(history)} epochs"
    return [
        _chart(partial(plot_curve, history=history, best=best, quantity=quantity, palette=PAGE), quantity, label)
        for quantity in ("accuracy", "loss")
    ]


def compared_curves(histories: Mapping[str, Sequence[Epoch]]) -> list[Markup]:
    """Plot validation accuracy and loss of runs by name, and their training values as thin lines."""
    label = f"of {len(histories)} runs"
    return [
        _chart(partial(_plot_runs, histories=histories, quantity=quantity), quantity, label)
        for quantity in ("accuracy", "loss")
    ]


def _plot_runs(axes: Any, histories: Mapping[str, Sequence[Epoch]], quantity: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for number, history in enumerate(histories.values()):
        color, dash = run_style(number)
        epochs = [line.epoch for line in history]
        for split, width, opacity in (("train", 0.9, 0.55), ("val", 2.0, 1.0)):
            values = [getattr(line, f"{split}_{quantity}") for line in history]
            marker = "o" if len(epochs) == 1 and split == "val" else ""
            axes.plot(epochs, values, color=color, linestyle=dash, marker=marker, linewidth=width, alpha=opacity)
    axes.set_title(f"Validation {quantity}", loc="left", fontsize=12)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.tick_params(length=0)
    for artist in axes.findobj():  # everything is inside: no clip paths, which are references
        artist.set_clip_on(False)


def run_style(number: int) -> tuple[str, Any]:
    """Return the color and the dashes of a run in `compared_curves`."""
    return (PAGE.second, PAGE.mark)[number % 2], DASHES[number // 2 % len(DASHES)]


def _chart(plot: Callable[[Any], None], quantity: str, label: str) -> Markup:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        figure = Figure(figsize=(5.2, 3.5))
        figure.subplots_adjust(left=0.125, right=0.975, bottom=0.15, top=0.91)  # a computed layout doubles the time
        plot(figure.subplots())
        return to_svg(figure, f"curve-{quantity}", f"training and validation {quantity} {label}")


def diagram(found: Reliability, name: str, title: str) -> Markup:
    """Plot accuracy over confidence; calibrated predictions lie on the diagonal, dots grow with images."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    filled = found.images > 0
    confidence, accuracy, images = found.confidence[filled], found.accuracy[filled], found.images[filled]
    with rc_context(STYLE):
        figure = Figure(figsize=(4.2, 4.0))
        figure.subplots_adjust(left=0.195, right=0.975, bottom=0.135, top=0.92)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PAGE.soft, linewidth=1, linestyle=(0, (3, 3)))
        axes.bar(
            confidence, accuracy - confidence, bottom=confidence, width=0.03, color=PAGE.mark, alpha=0.35, linewidth=0
        )
        axes.plot(confidence, accuracy, color=PAGE.second, linewidth=1.4)
        axes.scatter(confidence, accuracy, s=12 + 150 * images / images.sum(), color=PAGE.second, linewidth=0, zorder=3)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy", aspect="equal")
        axes.set_title(title, loc="left", fontsize=12, color=PAGE.ink)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
        axes.tick_params(length=0, color=PAGE.line)
        return to_svg(figure, f"reliability-{name}", f"reliability diagram, {title}")


def to_svg(figure: Any, name: str, label: str) -> Markup:
    """Return a figure, created under ``rc_context(STYLE)``, as SVG; the same figure gives the same bytes.

    ``name`` is the prefix of the ids, unique on the page, and ``label`` the text for screen readers.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for placeholder, variable in VARIABLES.items():
        text = text.replace(placeholder, variable)
    text = re.sub(r"font: (?:\w+ )*([\d.]+px) [^;\"]*", r"font-size: \1", text)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r"<svg [^>]*viewBox=\"([^\"]+)\"[^>]*>", r'<svg viewBox="\1" role="img" aria-label="{}">', text)
    text = re.sub(r"\n\s*", "\n", text).replace("{}", str(Markup.escape(label)), 1)
    return Markup(text)  # noqa: S704  (matplotlib escapes what it writes)


SIDE = 1000.0
MARGIN = 20.0
FEWEST = 10  # images
ALIKE = 1e-6  # relative spread below which all points count as equal
PERPLEXITY = 30.0
ITERATIONS = 600  # of gradient descent; converged by then
HUES = 20  # with more classes, classes share colors


@dataclass(frozen=True)
class ClassPoints:
    """The points of one class as SVG path data: a line of zero length each."""

    name: str
    hue: int
    shade: int
    images: int
    path: str


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """The points of all classes, and the outlines of mistakes below them; ``positions`` (N, 2) are all points."""

    clouds: list[ClassPoints]
    mistakes: str
    wrong: int
    images: int
    positions: NDArray[np.float64]


def draw_map(index: Index, test: Predictions, names: list[str]) -> EmbeddingMap | None:
    """Arrange the test images of an index on a plane by t-SNE (van der Maaten & Hinton 2008).

    Returns None with fewer than 10 images, or if all points are equal.
    """
    count = len(index.test_positions)
    points = index.test_points.numpy()
    if count < FEWEST or not points.std(0).max() > ALIKE * np.abs(points).max():  # also for NaN
        return None
    positions = arrange(points)
    labels = test.labels[index.test_positions]
    wrong = test.probabilities[index.test_positions].argmax(1) != labels
    present = np.unique(labels)
    clouds = [
        ClassPoints(names[label], hue, shade, int((labels == label).sum()), _path(positions[labels == label]))
        for label, (hue, shade) in zip(present, _colors(len(present)), strict=True)
    ]
    return EmbeddingMap(clouds, _path(positions[wrong]), int(wrong.sum()), count, positions)


def arrange(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return coordinates (N, 2) in a square of `SIDE`; one thread, so that the result is deterministic."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    scaled = points / max(float(points.std()), 1e-12)
    with threadpool_limits(1):
        perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
        start = "pca" if min(points.shape) >= 2 else "random"
        found = (
            TSNE(perplexity=perplexity, init=start, max_iter=ITERATIONS, random_state=0)
            .fit_transform(scaled)
            .astype(np.float64)
        )
    low, high = found.min(0), found.max(0)
    reach = max(float((high - low).max()), 1e-12)
    positions: NDArray[np.float64] = SIDE / 2 + (found - (low + high) / 2) / reach * (SIDE - 2 * MARGIN)
    return positions


def _path(positions: NDArray[np.float64]) -> str:
    """Return a path with a dot (round line caps) at each position: a tenth of the bytes of an element per dot."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in positions)


def _colors(classes: int) -> list[tuple[int, int]]:
    """Return a hue in degrees and one of two shades for each class; neighboring classes differ."""
    hues = min(classes, HUES)
    return [(round(360 * (number % hues) / hues + 20) % 360, number % 2) for number in range(classes)]
