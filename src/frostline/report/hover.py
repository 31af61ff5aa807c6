"""Thumbnails that the map of the embedding shows under the pointer: one image with all of them, without a script."""

import io
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.data.decoding.target import Target
from frostline.data.encoding import data_url
from frostline.runs.evidence import Evidence

TILE = 64  # pixels a side at most
JPEG_QUALITY = 75
FRAME = Target(TILE, "pad")


@dataclass(frozen=True)
class Spot:
    """A point of the map with an image: its place in 0 to 1000, its tile, and its text."""

    x: int
    y: int
    column: int
    row: int
    text: str


@dataclass(frozen=True)
class HoverImages:
    """Spots, and the sheet of their tiles as a ``data:`` URL with its number of tiles across and down."""

    sheet: str
    across: int
    down: int
    small: bool
    spots: list[Spot]


def hover_images(
    test_positions: NDArray[np.int64], places: NDArray[np.float64], evidence: Evidence, names: list[str]
) -> HoverImages | None:
    """Return the thumbnails of the test images on a map; None when the run has none of them.

    Parameters
    ----------
    test_positions : ndarray (N,)
        Positions in the test split.
    places : ndarray (N, 2)
        Coordinates on the map.
    """
    found = [
        (place, position, evidence.image(int(position))) for place, position in zip(places, test_positions, strict=True)
    ]
    shown = [(place, int(position), image) for place, position, image in found if image is not None]
    if not shown:
        return None
    tiles = [_tile(encoded) for _, _, (encoded, _) in shown]
    side = min(TILE, max(max(tile.size) for tile in tiles))
    across = ceil(sqrt(len(tiles)))
    down = ceil(len(tiles) / across)
    sheet = Image.new("RGB", (across * side, down * side))
    spots = []
    predicted, labels = evidence.test.probabilities.argmax(1), evidence.test.labels
    for number, (tile, (place, position, (_, file))) in enumerate(zip(tiles, shown, strict=True)):
        row, column = divmod(number, across)
        sheet.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (column * side, row * side))
        truth, guess = names[labels[position]], names[predicted[position]]
        text = truth if truth == guess else f"{truth}, predicted as {guess}"
        name = file.rsplit("/", 1)[-1]
        spots.append(Spot(round(place[0]), round(place[1]), column, row, f"{text} · {name}" if name else text))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return HoverImages(data_url(buffer.getvalue()), across, down, side <= TILE // 2, spots)


def _tile(encoded: bytes) -> Image.Image:
    with Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG"]) as image:
        return FRAME.frame(image.convert("RGB"))
