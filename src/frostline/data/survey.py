"""What kind of images a data set has: sizes, colors, classes, without decoding more than some of their headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.decoder import headers

SAMPLE = 300  # headers that are read
GRAY_MODES = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes
    ----------
    counts : dict of str to int
        Training images of each class.
    val, test : int
        Images in those splits; 0 where a run draws validation by itself.
    width, height : int
        Medians, of ``sampled`` images.
    longest_side : int or None
        Of all images.
    gray : float
        Share of gray images among the sampled.
    bad : int
        Images that cannot be read.
    alike : int
        Training images that look like an earlier one of their class.
    """

    counts: dict[str, int]
    val: int
    test: int
    sampled: int
    width: int
    height: int
    longest_side: int | None
    gray: float
    bad: int
    alike: int

    @property
    def train(self) -> int:
        """Training images, those of a validation split that a run draws included."""
        return sum(self.counts.values())

    @property
    def smallest(self) -> tuple[str, int]:
        """The class with the fewest images."""
        return min(self.counts.items(), key=lambda item: item[1])

    @property
    def largest(self) -> tuple[str, int]:
        """The class with the most images."""
        return max(self.counts.items(), key=lambda item: item[1])


def survey(splits: Splits) -> Survey:
    """Look at a loaded data set."""
    part = splits.train
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    sizes, modes = _headers(part)
    groups = part.groups
    return Survey(
        counts={name: int(count) for name, count in zip(part.class_names, counts, strict=True)},
        val=len(splits.val) if splits.val is not None else 0,
        test=len(splits.test),
        sampled=len(sizes),
        width=int(np.median([size[0] for size in sizes])),
        height=int(np.median([size[1] for size in sizes])),
        longest_side=part.side,
        gray=sum(mode in GRAY_MODES for mode in modes) / len(modes),
        bad=len(splits.bad),
        alike=0 if groups is None else len(groups) - len(np.unique(groups)),
    )


def _headers(part: ImageDataset) -> tuple[list[tuple[int, int]], list[str]]:
    """Return sizes (width, height) and modes of some images, spread evenly over all."""
    if isinstance(part.images, np.ndarray):
        height, width = part.images.shape[1:3]
        return [(width, height)], ["L" if part.images.ndim == 3 else "RGB"]
    chosen: Sequence[Path] = [part.images[i] for i in np.unique(np.linspace(0, len(part) - 1, SAMPLE).astype(int))]
    found = headers(chosen)
    return [size for size, _ in found], [mode for _, mode in found]
