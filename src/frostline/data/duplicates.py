"""Which images look alike: they must not stand on both sides of a split."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FLAT = bytes(8)  # no step from left to right gets brighter: that tells nothing


def difference_hash(pixels: NDArray[np.uint8]) -> bytes:
    """Return 64 bits that an image keeps when it is resized, compressed or turned gray.

    Each bit says whether a pixel of the 9 x 8 thumbnail is brighter than its left neighbor (the "dHash" of N. Krawetz,
    hackerfactor.com, 2013).

    Parameters
    ----------
    pixels : ndarray of uint8, (H, W) or (H, W, 3)
    """
    small = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.BOX))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def group_numbers(classes: Sequence[str], row_ids: Sequence[bytes], hashes: Sequence[bytes]) -> NDArray[np.int64]:
    """Return one number per image, the same for those of one class that have the same difference hash.

    The number depends on nothing but class and image: it stays when other images come or go.
    """
    return np.array(
        [
            _number(name, row if look == FLAT else look)
            for name, row, look in zip(classes, row_ids, hashes, strict=True)
        ],
        np.int64,
    )


def joined_groups(alike: NDArray[np.int64], given: Sequence[str | None] | None) -> NDArray[np.int64]:
    """Return one number per image, the same for those that look alike or belong to one given group.

    Both relations together: A looks like B and B is of C's group, so A stays with C.

    Parameters
    ----------
    alike : ndarray of int64, shape (N,)
        From `group_numbers`.
    given : sequence of str or None, optional
        The group that each image belongs to; ``None``: none.
    """
    if given is None:
        return alike
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        parents.setdefault(number, number)
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    first: dict[str, int] = {}
    numbers = alike.tolist()
    for number, group in zip(numbers, given, strict=True):
        if group is not None:
            low, high = sorted((root(number), root(first.setdefault(group, number))))
            parents[high] = low
    return np.array([root(number) for number in numbers], np.int64)


def _number(name: str, key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode() + b"\0" + key, digest_size=8).digest(), "little", signed=True)
