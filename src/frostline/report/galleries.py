"""Images in a report: galleries of test images, first-layer filters, and confusion matrices too large for a table."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from frostline.data.thumbnails import LOSSLESS_SIDE, data_url, to_png
from frostline.evaluation.mistakes import PER_PAIR, confused_pairs, least_certain, worst_mistakes
from frostline.runs.evidence import Evidence

MOST_FILTERS = 96
ACROSS = 16


@dataclass(frozen=True)
class GalleryImage:
    """A test image with its prediction and runner-up; ``saliency`` is the URL of its saliency map, or empty."""

    source: str
    saliency: str
    small: bool
    file: str
    truth: str
    predicted: str
    probability: float
    second: str
    second_probability: float


@dataclass(frozen=True)
class Pair:
    """A pair of confused classes, and some of its images."""

    truth: str
    predicted: str
    rows: tuple[int, int]
    images: int
    shown: list[GalleryImage]


@dataclass(frozen=True)
class Galleries:
    """Test images to show; see `frostline.evaluation.mistakes`."""

    worst: list[GalleryImage]
    unsure: list[GalleryImage]
    pairs: list[Pair]


def galleries(evidence: Evidence, names: list[str], overlays: Mapping[int, bytes]) -> Galleries:
    """Select among the test images with thumbnails; ``overlays`` are JPEG files by position."""
    probabilities, labels = evidence.test.pair
    pairs = [
        Pair(
            names[pair.truth], names[pair.predicted], (pair.truth, pair.predicted), len(pair.positions),
            _shown(evidence, pair.positions[:PER_PAIR], names, overlays),
        )
        for pair in confused_pairs(probabilities, labels)
    ]  # fmt: skip
    worst = _shown(evidence, worst_mistakes(probabilities, labels), names, overlays)
    return Galleries(worst, _shown(evidence, least_certain(probabilities), names, overlays), pairs)


def _shown(
    evidence: Evidence, positions: Iterable[int], names: list[str], overlays: Mapping[int, bytes]
) -> list[GalleryImage]:
    found = []
    for position in positions:
        row, encoded = evidence.test.probabilities[position], evidence.shown.at(position)
        if encoded is None:
            continue
        best, second = np.argsort(-row, kind="stable")[:2].tolist() if len(row) > 1 else (0, 0)
        with Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG"]) as image:
            small = max(image.size) <= LOSSLESS_SIDE
        saliency = data_url(overlays[position]) if position in overlays else ""
        file = evidence.shown.names[int(np.flatnonzero(evidence.shown.positions == position)[0])]
        found.append(
            GalleryImage(
                data_url(encoded), saliency, small, file,
                names[evidence.test.labels[position]], names[best], float(row[best]), names[second], float(row[second]),
            )
        )  # fmt: skip
    return found


def mosaic(filters: torch.Tensor) -> str:
    """Return filters (N, 3, H, W) as one image with transparent gaps, each scaled to its own range."""
    filters = filters[:MOST_FILTERS]
    count, _, height, width = filters.shape
    low, high = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    tiles = (255 * (filters - low) / (high - low).clamp_min(1e-12)).round().byte()  # (N, 3, H, W)
    across = min(ACROSS, count)
    down = -(-count // across)
    sheet = torch.zeros(down * (height + 1) - 1, across * (width + 1) - 1, 4, dtype=torch.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + 1), number % across * (width + 1)
        sheet[top : top + height, left : left + width, :3] = tile.permute(1, 2, 0)
        sheet[top : top + height, left : left + width, 3] = 255
    return data_url(to_png(sheet.numpy(), optimize=True))


def matrix(shares: NDArray[np.float64]) -> tuple[str, str]:
    """Return shares (N, N) as two masks, correct predictions and mistakes, with opacity by share."""
    opaque = (255 * np.sqrt(shares)).round().astype(np.uint8)  # the square root keeps 1 % visible
    right = np.eye(len(shares), dtype=bool)
    masks = []
    for kept, color in ((right, (46, 126, 158)), (~right, (201, 106, 58))):
        pixels = np.zeros((*shares.shape, 4), np.uint8)
        pixels[..., :3] = color
        pixels[..., 3] = np.where(kept, opaque, 0)
        masks.append(data_url(to_png(pixels, optimize=True)))
    return masks[0], masks[1]
