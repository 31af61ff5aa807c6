"""Embedding map: test images arranged on a plane by the similarity of their features (t-SNE)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.evaluation.metrics import Predictions
from frostline.runs.embedding_index import Index

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


@dataclass(frozen=True)
class EmbeddingMap:
    """The points of all classes, and the outlines of mistakes below them."""

    clouds: list[ClassPoints]
    mistakes: str
    wrong: int
    images: int


def draw_map(index: Index, test: Predictions, names: list[str]) -> EmbeddingMap | None:
    """Arrange the test images of an index on a plane by t-SNE (van der Maaten & Hinton 2008).

    Returns
    -------
    EmbeddingMap or None
        None with fewer than 10 images, or if all points are equal.
    """
    count = len(index.test_positions)
    points = index.test_points.numpy()
    if count < FEWEST or not points.std(0).max() > ALIKE * np.abs(points).max():  # also for NaN
        return None
    places = arrange(points)
    labels = test.labels[index.test_positions]
    wrong = test.probabilities[index.test_positions].argmax(1) != labels
    present = np.unique(labels)
    clouds = [
        ClassPoints(names[label], hue, shade, int((labels == label).sum()), _path(places[labels == label]))
        for label, (hue, shade) in zip(present, _colors(len(present)), strict=True)
    ]
    return EmbeddingMap(clouds, _path(places[wrong]), int(wrong.sum()), count)


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
    places: NDArray[np.float64] = SIDE / 2 + (found - (low + high) / 2) / reach * (SIDE - 2 * MARGIN)
    return places


def _path(places: NDArray[np.float64]) -> str:
    """Return a path with a dot (round line caps) at each place: a tenth of the bytes of an element per dot."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places)


def _colors(classes: int) -> list[tuple[int, int]]:
    """Return a hue in degrees and one of two shades for each class; neighboring classes differ."""
    hues = min(classes, HUES)
    return [(round(360 * (number % hues) / hues + 20) % 360, number % 2) for number in range(classes)]
