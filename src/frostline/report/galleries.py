"""Images within a page: galleries of test images, filters, and matrices too large for a table."""

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from frostline.evaluation.mistakes import PER_PAIR, confused_pairs, least_certain, worst_mistakes
from frostline.runs.evidence import Evidence

MOST_FILTERS = 96
ACROSS = 16


@dataclass(frozen=True)
class GalleryImage:
    """One test image with what was said of it: ``second`` came next, ``look`` is where the model looked, or empty."""

    source: str
    look: str
    small: bool
    file: str
    truth: str
    predicted: str
    probability: float
    second: str
    second_probability: float


@dataclass(frozen=True)
class Pair:
    """A kind of mistake, and some images of it."""

    truth: str
    predicted: str
    rows: tuple[int, int]
    images: int
    shown: list[GalleryImage]


@dataclass(frozen=True)
class Galleries:
    """Which test images are worth a look; see `frostline.evaluation.mistakes`."""

    worst: list[GalleryImage]
    unsure: list[GalleryImage]
    pairs: list[Pair]


def galleries(evidence: Evidence, names: list[str], overlays: Mapping[int, bytes]) -> Galleries:
    """Choose the images that a run kept images of; ``overlays`` are JPEG files by position."""
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
            kind, small = image.format, max(image.size) <= 32
        look = to_source(overlays[position], "jpeg") if position in overlays else ""
        file = evidence.shown.names[int(np.flatnonzero(evidence.shown.positions == position)[0])]
        found.append(
            GalleryImage(
                to_source(encoded, str(kind).lower()), look, small, file,
                names[evidence.test.labels[position]], names[best], float(row[best]), names[second], float(row[second]),
            )
        )  # fmt: skip
    return found


def to_source(encoded: bytes, kind: str) -> str:
    """Return an encoded image as an address that asks nobody."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def _png(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return to_source(buffer.getvalue(), "png")


def mosaic(filters: torch.Tensor) -> str:
    """Return filters (N, 3, H, W) as one image, each stretched to its own range, on a transparent ground."""
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
    return _png(sheet.numpy())


def matrix(shares: NDArray[np.float64]) -> tuple[str, str]:
    """Return shares (N, N) as two masks, right answers and mistakes: as opaque as they are frequent."""
    opaque = (255 * np.sqrt(shares)).round().astype(np.uint8)  # a root: one image in a hundred shows too
    right = np.eye(len(shares), dtype=bool)
    masks = []
    for kept, color in ((right, (46, 126, 158)), (~right, (201, 106, 58))):
        pixels = np.zeros((*shares.shape, 4), np.uint8)
        pixels[..., :3] = color
        pixels[..., 3] = np.where(kept, opaque, 0)
        masks.append(_png(pixels))
    return masks[0], masks[1]
