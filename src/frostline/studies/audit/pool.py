"""The images of an audit: all splits in one sequence, with each image's place in the data set."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.splits import limited


@dataclass(frozen=True, eq=False)
class Pool:
    """The images of all splits, numbered consecutively.

    Attributes
    ----------
    names : tuple of str
        ``train``, ``val`` where the data set has its own; ``test`` comes last.
    parts : tuple of ImageDataset
        Audited images of each split.
    positions : tuple of ndarray of int64
        Their positions in the split as loaded.
    """

    names: tuple[str, ...]
    parts: tuple[ImageDataset, ...]
    positions: tuple[NDArray[np.int64], ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names."""
        return self.parts[0].class_names

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The class of each image (N,)."""
        return np.concatenate([part.labels for part in self.parts])

    @cached_property
    def row_ids(self) -> list[bytes]:
        """The content digest of each image."""
        return [row_id for part in self.parts for row_id in part.row_ids]

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """The position of each image in its split (N,)."""
        return np.concatenate(self.positions)

    @cached_property
    def split_of(self) -> NDArray[np.int64]:
        """Which of ``names`` each image belongs to (N,)."""
        return np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])

    @property
    def in_test(self) -> NDArray[np.bool_]:
        """Whether each image belongs to the test split (N,)."""
        return np.asarray(self.split_of == self.names.index("test"))

    def split(self, image: int) -> str:
        """Return the name of an image's split."""
        return self.names[int(self.split_of[image])]

    def path(self, image: int) -> str:
        """Return the file of an image; an empty string when it is in an array."""
        part, place = self._place(image)
        return "" if isinstance(part.images, np.ndarray) else str(part.images[place])

    def where(self, image: int) -> str:
        """Return the file of an image, or its split and number."""
        return self.path(image) or f"{self.split(image)} {self.numbers[image]}"

    def pixels(self, image: int, side: int | None = None) -> NDArray[np.uint8]:
        """Return the pixels of an image, (H, W) or (H, W, 3)."""
        part, place = self._place(image)
        (pixels,) = part.pixels(np.array([place]), side)
        return pixels

    def _place(self, image: int) -> tuple[ImageDataset, int]:
        number = int(self.split_of[image])
        return self.parts[number], image - int(np.searchsorted(self.split_of, number))


def make_pool(splits: Splits, config: TrainConfig) -> Pool:
    """Collect the images of a data set, or the part that a run with ``--limit`` uses."""
    names, parts, positions = [], [], []
    for name, part in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        if part is None:
            continue
        wanted = len(part)
        if config.limit is not None:
            wanted = config.limit if name == "train" else max(config.limit // 6, 1)
        chosen = limited(part.labels, wanted, config.seed)
        names.append(name)
        positions.append(chosen)
        parts.append(part if len(chosen) == len(part) else part.subset(chosen))
    return Pool(tuple(names), tuple(parts), tuple(positions))
