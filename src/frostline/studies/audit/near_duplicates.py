"""Which images show the same: neighbors that are suspiciously near, confirmed by a look at the images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frostline.studies.audit.pool import Pool

NEAR = 0.35  # of the usual distance to the nearest image
SIDE = 16  # pixels of the thumbnails that are compared
ALIKE = 0.98  # correlation of thumbnails: re-encoding and resizing keep more, garments of one kind mostly less


@dataclass(frozen=True, eq=False)
class Copies:
    """Pairs of images that show the same.

    Attributes
    ----------
    pairs : ndarray of int64, shape (P, 2)
        The smaller number first.
    closeness : ndarray of float64, shape (P,)
        1 for the same, 0 for as far apart as neighbors usually are.
    groups : ndarray of int64, shape (N,)
        Images that are linked by pairs share a number.
    """

    pairs: NDArray[np.int64]
    closeness: NDArray[np.float64]
    groups: NDArray[np.int64]

    def told(self, pool: Pool, audited: NDArray[np.bool_]) -> Iterator[tuple[int, int, float]]:
        """Yield each image that is one copy too many, its nearest copy, and how near.

        One of each group stays: one that is not audited, such as a test image, or else the first.
        """
        by_image: dict[int, list[tuple[float, int]]] = {}
        for (one, other), closeness in zip(self.pairs.tolist(), self.closeness.tolist(), strict=True):
            by_image.setdefault(one, []).append((closeness, other))
            by_image.setdefault(other, []).append((closeness, one))
        stays: dict[int, int] = {}
        for image in sorted(by_image, key=lambda image: (bool(audited[image]), image)):
            stays.setdefault(int(self.groups[image]), image)
        for image, others in by_image.items():
            if audited[image] and stays[int(self.groups[image])] != image:
                closeness, other = max(others, key=lambda pair: (pair[0], -pair[1]))
                yield image, other, closeness


def find_copies(pool: Pool, members: NDArray[np.int64], distances: NDArray[np.float32]) -> Copies:
    """Compare each image with its nearest ones, and with those of the same pixels or bytes.

    Parameters
    ----------
    members, distances : ndarray (N, M)
        `frostline.studies.audit.neighbors.nearest`.

    Raises
    ------
    DataError
        When a file is no readable image any more.
    """
    usual = float(np.median(distances[:, 0])) or 1.0
    ones, ranks = np.nonzero(distances < NEAR * usual)
    near = np.stack([ones, members[ones, ranks]], 1)
    pairs, first = np.unique(np.sort(near, 1), axis=0, return_index=True)
    closeness = 1 - distances[ones, ranks][first].astype(np.float64) / usual
    looks = {i: _look(pool, i) for i in np.unique(pairs).tolist()}
    alike = np.array([looks[one] @ looks[other] >= ALIKE for one, other in pairs.tolist()], bool)
    same = _same_content(pool.row_ids)
    pairs = np.concatenate([same, pairs[alike]])
    closeness = np.concatenate([np.ones(len(same)), closeness[alike]])
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    return Copies(pairs, closeness[first], _linked(pairs, len(pool)))


def _look(pool: Pool, image: int) -> NDArray[np.float32]:
    """Return a gray thumbnail as a vector of length 1, without its mean: brightness and contrast do not matter."""
    gray = Image.fromarray(pool.pixels(image, 4 * SIDE)).convert("L")
    look = np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32).ravel()
    look -= look.mean()
    return look / max(float(np.linalg.norm(look)), 1e-6)


def _same_content(row_ids: list[bytes]) -> NDArray[np.int64]:
    """Return pairs of images with one identity: each with the first."""
    first: dict[bytes, int] = {}
    pairs = [(first[row_id], i) for i, row_id in enumerate(row_ids) if first.setdefault(row_id, i) != i]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _linked(pairs: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
