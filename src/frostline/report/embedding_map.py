"""The map of test images: what the network finds alike lies together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.evaluation.metrics import Predictions
from frostline.runs.embedding_index import Index

SIDE = 1000.0
MARGIN = 20.0
FEWEST = 10  # below, there is nothing to arrange
ALIKE = 1e-6  # spread against size: below, there is nothing to arrange either
PERPLEXITY = 30.0
ROUNDS = 600  # of gradient descent: little moves after them
HUES = 20  # more classes share colors


@dataclass(frozen=True)
class Cloud:
    """The points of one class, as the data of an SVG path: a line of no length for each."""

    name: str
    hue: int
    shade: int
    images: int
    path: str


@dataclass(frozen=True)
class Map:
    """Clouds to be drawn over the outlines of mistakes."""

    clouds: list[Cloud]
    mistakes: str
    wrong: int
    images: int


def draw_map(index: Index, test: Predictions, names: list[str]) -> Map | None:
    """Arrange the test images of an index on a plane by t-SNE (van der Maaten & Hinton 2008).

    Returns
    -------
    Map or None
        ``None`` where there are too few, or all are the same.
    """
    count = len(index.test_positions)
    points = index.test_points.numpy()
    if count < FEWEST or not points.std(0).max() > ALIKE * np.abs(points).max():  # also where they are no numbers
        return None
    places = arrange(points)
    labels = test.labels[index.test_positions]
    wrong = test.probabilities[index.test_positions].argmax(1) != labels
    present = np.unique(labels)
    clouds = [
        Cloud(names[label], hue, shade, int((labels == label).sum()), _path(places[labels == label]))
        for label, (hue, shade) in zip(present, _colors(len(present)), strict=True)
    ]
    return Map(clouds, _path(places[wrong]), int(wrong.sum()), count)


def arrange(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return places (N, 2) in a square of `SIDE`; one thread, so that the same points have the same places always."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    scaled = points / max(float(points.std()), 1e-12)
    with threadpool_limits(1):
        perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
        start = "pca" if min(points.shape) >= 2 else "random"
        found = (
            TSNE(perplexity=perplexity, init=start, max_iter=ROUNDS, random_state=0)
            .fit_transform(scaled)
            .astype(np.float64)
        )
    low, high = found.min(0), found.max(0)
    reach = max(float((high - low).max()), 1e-12)
    places: NDArray[np.float64] = SIDE / 2 + (found - (low + high) / 2) / reach * (SIDE - 2 * MARGIN)
    return places


def _path(places: NDArray[np.float64]) -> str:
    """Return a path with a dot (drawn by its round ends) at each place: a tenth of what an element each would take."""
    return "".join(f"M{x:.0f} {y:.0f}h0" for x, y in places)


def _colors(classes: int) -> list[tuple[int, int]]:
    """Return a hue in degrees and one of two shades for each class, neighbors far apart."""
    hues = min(classes, HUES)
    return [(round(360 * (number % hues) / hues + 20) % 360, number % 2) for number in range(classes)]
