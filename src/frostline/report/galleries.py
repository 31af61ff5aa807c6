"""Test images to show, with their labels and predictions, and where the network's crop was."""

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
from PIL import Image

from frostline.data.encoding import LOSSLESS_SIDE, data_url
from frostline.evaluation.metrics import PER_PAIR, confused_pairs, least_certain, worst_mistakes
from frostline.runs.evidence import Evidence


@dataclass(frozen=True)
class GalleryImage:
    """A test image with its label and prediction, their probabilities, and the most probable other class.

    Attributes
    ----------
    source, saliency : str
        URLs of the image and of its saliency map, or empty.
    small : bool
        Whether its pixels are shown as squares.
    file : str
        Path of the file; empty for images in memory.
    cropped : bool
        Whether the network saw the center square only.
    seen : tuple of float
        Width and height of what the network saw, in percent of the longer side.
    """

    source: str
    saliency: str
    small: bool
    file: str
    truth: str
    truth_probability: float
    predicted: str
    probability: float
    second: str
    second_probability: float
    cropped: bool = False
    seen: tuple[float, float] = (100.0, 100.0)

    @property
    def name(self) -> str:
        """Name of the file, without its folder."""
        return PurePath(self.file).name

    @property
    def right(self) -> bool:
        """Whether the prediction is correct."""
        return self.truth == self.predicted


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
    """Test images to show; see `frostline.evaluation.metrics`."""

    worst: list[GalleryImage]
    unsure: list[GalleryImage]
    pairs: list[Pair]


@dataclass(frozen=True, eq=False)
class Exhibits:
    """The images of a run's evidence, with what is needed to show them.

    Attributes
    ----------
    evidence : Evidence
    names : list of str
        Of the classes.
    overlays : mapping
        Saliency maps, JPEG by position.
    fit : str
        How the network's images become square (`frostline.data.decoding.target.FITS`).
    """

    evidence: Evidence
    names: list[str]
    overlays: Mapping[int, bytes] = field(default_factory=dict)
    fit: str = "pad"

    def galleries(self) -> Galleries:
        """Select among the test images with thumbnails."""
        probabilities, labels = self.evidence.test.pair
        pairs = [
            Pair(
                self.names[pair.truth], self.names[pair.predicted], (pair.truth, pair.predicted), len(pair.positions),
                self.images(pair.positions[:PER_PAIR]),
            )
            for pair in confused_pairs(probabilities, labels)
        ]  # fmt: skip
        worst, unsure = worst_mistakes(probabilities, labels), least_certain(probabilities)
        return Galleries(self.images(worst), self.images(unsure), pairs)

    def images(self, positions: Iterable[int]) -> list[GalleryImage]:
        """Return the images at some positions of the test split, without those that have no thumbnail."""
        return [image for position in positions if (image := self._image(int(position))) is not None]

    def _image(self, position: int) -> GalleryImage | None:
        found = self.evidence.image(position)
        return None if found is None else self.shown(position, *found)

    def shown(self, position: int, encoded: bytes, file: str) -> GalleryImage:
        """Return the test image at a position with its predictions; ``encoded`` is its thumbnail."""
        names, row = self.names, self.evidence.test.probabilities[position]
        truth = int(self.evidence.test.labels[position])
        best, second = np.argsort(-row, kind="stable")[:2].tolist() if len(row) > 1 else (0, 0)
        with Image.open(io.BytesIO(encoded), formats=["PNG", "JPEG"]) as image:
            size = image.size
        saliency = data_url(self.overlays[position]) if position in self.overlays else ""
        return GalleryImage(
            data_url(encoded), saliency, max(size) <= LOSSLESS_SIDE, file, names[truth], float(row[truth]),
            names[best], float(row[best]), names[second], float(row[second]),
            self.fit == "crop" and size[0] != size[1], self._seen(size),
        )  # fmt: skip

    def _seen(self, size: tuple[int, int]) -> tuple[float, float]:
        """Return width and height of what the network saw of an image, in percent of its longer side."""
        width, height = (round(100 * length / max(size), 1) for length in size)
        if self.fit == "crop":
            return min(width, height), min(width, height)
        return (width, height) if self.fit == "squash" else (100.0, 100.0)
