"""Nearest images in feature space, and near-duplicates: close neighbors with similar pixels.

The search for neighbors is exact, as scikit-learn's ``NearestNeighbors(algorithm="brute")`` is, takes 0.6 times its
processor time (20,000 images) and reports progress.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from frostline._utils.progress import Progress, Silent
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.target import Target
from frostline.data.splits import limited
from frostline.models.heads import feature_scale
from frostline.training.examples import Examples, Rows, moments, principal_axes


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
        (pixels,) = part.pixels(np.array([place]), Target(side, "pad") if side else None)
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


AXES = 64
SAMPLE = 2048  # rows for the principal components
NEAREST = 10
ROWS_AT_ONCE = 512
QUERIES_AT_ONCE = 128  # their distances to all images fit into the processor's cache
BLOCK = 64
FAR = 1e30
NEAR = 0.35  # of the median distance to the nearest image
SIDE = 16  # pixels of the compared thumbnails
ALIKE = 0.98  # correlation of thumbnails; re-encoded and resized copies have more, similar images mostly less


def reduce(rows: Rows, seed: int, progress: Progress | None = None) -> torch.Tensor:
    """Return points (N, K): standardized rows projected on the principal axes of a sample of them."""
    count = len(rows)
    examples = Examples(rows, np.zeros(count, np.int64))
    mean, std = moments(nn.Identity(), examples, seed)
    scale = feature_scale(std)
    sample = (rows.take(examples.typical(SAMPLE, seed)).flatten(1) - mean) * scale  # (S, F)
    axes = principal_axes(sample, min(AXES, *sample.shape))  # (F, K)
    del sample
    axes = scale[:, None] * axes  # ((x - m) * s) A == x (s A) - m (s A)
    center = mean @ axes  # (K,)
    points = torch.empty(count, axes.shape[1])
    with (progress or Silent()).bar("points", count, "images") as bar:
        for start in range(0, count, ROWS_AT_ONCE):
            batch = np.arange(start, min(start + ROWS_AT_ONCE, count))
            points[start : start + len(batch)] = rows.take(batch).flatten(1) @ axes - center
            bar.advance(len(batch))
    return points


def nearest(points: torch.Tensor, progress: Progress | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest other points of each point, nearest first.

    Only the blocks of 64 columns with the smallest minima are searched: exact, and faster than sorting rows.

    Returns
    -------
    members : ndarray of int64, shape (N, M)
        M is 10, or the number of other points.
    distances : ndarray of float32, shape (N, M)
        Euclidean.
    """
    count, take = len(points), min(NEAREST, len(points) - 1)
    padding = -count % BLOCK
    columns = torch.cat([points, torch.zeros(padding, points.shape[1])]).T.contiguous()  # (K, N + padding)
    squares = torch.cat([points.square().sum(1), torch.full((padding,), FAR)])  # (N + padding,)
    members, distances = torch.empty(count, take, dtype=torch.int64), torch.empty(count, take)
    buffer = torch.empty(QUERIES_AT_ONCE, count + padding)
    with (progress or Silent()).bar("neighbors", count, "images") as bar:
        for start in range(0, count, QUERIES_AT_ONCE):
            some = points[start : start + QUERIES_AT_ONCE]
            # (B, N + padding): squared distances minus the square of the query
            squared = torch.addmm(squares, some, columns, alpha=-2, out=buffer[: len(some)])
            squared[torch.arange(len(some)), torch.arange(start, start + len(some))] = FAR  # not itself
            blocks = squared.view(len(some), -1, BLOCK)  # (B, blocks, 64)
            best = blocks.amin(2).topk(min(take, blocks.shape[1]), largest=False).indices  # (B, M)
            candidates = blocks.gather(1, best[:, :, None].expand(-1, -1, BLOCK)).flatten(1)  # (B, M * 64)
            values, places = candidates.topk(take, largest=False)
            members[start : start + len(some)] = best.gather(1, places // BLOCK) * BLOCK + places % BLOCK
            own = squares[start : start + len(some), None]
            distances[start : start + len(some)] = (values + own).clamp_min(0).sqrt()
            bar.advance(len(some))
    return members.numpy(), distances.numpy()


@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of near-duplicates.

    Attributes
    ----------
    pairs : ndarray of int64, shape (P, 2)
        The smaller number first.
    closeness : ndarray of float64, shape (P,)
        1 for identical images, 0 at the median distance of nearest neighbors.
    groups : ndarray of int64, shape (N,)
        Connected images share a number.
    """

    pairs: NDArray[np.int64]
    closeness: NDArray[np.float64]
    groups: NDArray[np.int64]

    def redundant(self, audited: NDArray[np.bool_]) -> Iterator[tuple[int, int, float]]:
        """Yield (image, nearest copy, closeness) for all images of a group but one.

        The original is an image that is not audited, such as a test image, or else the first.
        """
        by_image: dict[int, list[tuple[float, int]]] = {}
        for (first, second), closeness in zip(self.pairs.tolist(), self.closeness.tolist(), strict=True):
            by_image.setdefault(first, []).append((closeness, second))
            by_image.setdefault(second, []).append((closeness, first))
        original: dict[int, int] = {}  # by group
        for image in sorted(by_image, key=lambda image: (bool(audited[image]), image)):
            original.setdefault(int(self.groups[image]), image)
        for image, others in by_image.items():
            if audited[image] and original[int(self.groups[image])] != image:
                closeness, other = max(others, key=lambda pair: (pair[0], -pair[1]))
                yield image, other, closeness


def find_copies(pool: Pool, members: NDArray[np.int64], distances: NDArray[np.float32]) -> Copies:
    """Find near-duplicates among the nearest neighbors (N, M) of `nearest`, and exact copies by content."""
    typical = float(np.median(distances[:, 0])) or 1.0
    images, ranks = np.nonzero(distances < NEAR * typical)
    near = np.stack([images, members[images, ranks]], 1)
    pairs, index = np.unique(np.sort(near, 1), axis=0, return_index=True)
    closeness = 1 - distances[images, ranks][index].astype(np.float64) / typical
    thumbnails = {i: _thumbnail(pool, i) for i in np.unique(pairs).tolist()}
    alike = np.array([thumbnails[first] @ thumbnails[second] >= ALIKE for first, second in pairs.tolist()], bool)
    same = _same_content(pool.row_ids)
    pairs = np.concatenate([same, pairs[alike]])
    closeness = np.concatenate([np.ones(len(same)), closeness[alike]])
    pairs, index = np.unique(pairs, axis=0, return_index=True)
    return Copies(pairs, closeness[index], _linked(pairs, len(pool)))


def _thumbnail(pool: Pool, image: int) -> NDArray[np.float32]:
    """Return a gray thumbnail as a vector of mean 0 and norm 1, independent of brightness and contrast."""
    gray = Image.fromarray(pool.pixels(image, 4 * SIDE)).convert("L")
    vector = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    vector -= vector.mean()
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _same_content(row_ids: list[bytes]) -> NDArray[np.int64]:
    """Return pairs of images with the same content: each with the first."""
    first: dict[bytes, int] = {}
    pairs = [(first[row_id], i) for i, row_id in enumerate(row_ids) if first.setdefault(row_id, i) != i]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _linked(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
