"""Parity of an exported model with `frostline predict` on real images."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline._utils.progress import Progress, Silent
from frostline.errors import ExportError

IMAGES = 512
LIMIT = 1e-4  # largest accepted difference of a probability
BATCH = 16

ImagePixels = NDArray[np.uint8]
Answers = tuple[NDArray[np.float32], NDArray[np.int64]]  # probabilities (N, classes), class ids (N,)
Predictor = Callable[[list[ImagePixels]], Answers]


class LabeledImages(Protocol):
    """A split of a data set, or the sample that a run keeps."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class numbers (N,)."""

    def __len__(self) -> int: ...

    def pixels(self, indices: NDArray[np.integer], /) -> Iterable[ImagePixels]:
        """Return the images at ``indices``."""


@dataclass(frozen=True)
class Parity:
    """Comparison of two predictors.

    Attributes
    ----------
    images : int
        Unmodified real images.
    varied : int
        Images changed in size, shape and channels, to cover upscaling, downscaling, halving and cropping.
    same_top1 : int
        Images of both kinds with the same predicted class.
    largest_difference : float
        Largest difference of a probability.
    """

    images: int
    varied: int
    same_top1: int
    largest_difference: float

    @property
    def holds(self) -> bool:
        """Whether all classes agree and no probability differs by more than the limit."""
        return self.same_top1 == self.images + self.varied and self.largest_difference <= LIMIT


def real_images(parts: Sequence[LabeledImages], count: int = IMAGES) -> Iterator[list[ImagePixels]]:
    """Yield unmodified images of a run's data in batches, one part after the other."""
    left = count
    for part in parts:
        some = min(left, len(part))
        left -= some
        yield from raw_batches(part, some)


def raw_batches(part: LabeledImages, count: int) -> Iterator[list[ImagePixels]]:
    """Yield the first images of a split, unmodified, in batches."""
    for start in range(0, count, BATCH):
        yield list(part.pixels(np.arange(start, min(start + BATCH, count))))


def varied(image: ImagePixels, number: int, side: int) -> ImagePixels:
    """Return an image with changed size, shape and channels; there are eight variants."""
    shapes = ((side - 1, 2 * side + 1), (3 * side + 5, 2 * side + 1), (side // 2 + 1, side + 7), (side, side))
    height, width = shapes[number % 4]
    gray = Image.fromarray(image).convert("L").resize((width, height))
    pixels = np.asarray(gray)
    return pixels if number % 8 < 4 else np.stack([pixels, 255 - pixels, pixels // 2], axis=-1)


def measure(
    expected: Predictor, found: Predictor, images: Iterator[list[ImagePixels]], side: int, progress: Progress | None
) -> Parity:
    """Compare two predictors on images and on a variant (`varied`) of each batch; ``side`` is the network's input."""
    count = extra = same = 0
    largest = 0.0
    with (progress or Silent()).bar("comparing", IMAGES, "images") as bar:
        for number, batch in enumerate(images):
            inputs = [*batch, varied(batch[0], number, side)]
            (probabilities, ids), (others, other_ids) = expected(inputs), found(inputs)
            gap = float(np.abs(probabilities - others).max())
            largest = gap if gap > largest or np.isnan(gap) else largest
            same += int(((ids == other_ids) & (other_ids == others.argmax(1))).sum())
            count, extra = count + len(batch), extra + 1
            bar.advance(len(batch))
    return Parity(count, extra, same, largest)


def check_parity(parity: Parity, what: str) -> None:
    """Check that an exported model predicts the same."""
    if not parity.holds:
        total = parity.images + parity.varied
        raise ExportError(
            f"{what} predicts differently from `frostline predict`: the same class for {parity.same_top1:,} of "
            f"{total:,} images and a largest difference of {parity.largest_difference:.1e}, expected all and at most "
            f"{LIMIT:.0e}; nothing was written."
        )
