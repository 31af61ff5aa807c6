"""Images that look alike have one number; what does not tell anything joins nothing."""

import io

import numpy as np
from PIL import Image

from frostline.data.dataset import Splits
from frostline.data.splits import FLAT, difference_hash, group_numbers


def test_a_hash_survives_another_size_and_format(fashion: Splits) -> None:
    coat = np.asarray(fashion.train.images[np.flatnonzero(fashion.train.labels == 4)[0]])
    large = np.kron(coat, np.ones((9, 8), np.uint8))
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([large] * 3)).save(buffer, "JPEG", quality=95)
    jpeg = np.asarray(Image.open(buffer))
    hashes = [difference_hash(pixels) for pixels in (large, np.dstack([large] * 3), jpeg)]
    assert len(hashes[0]) == 8
    assert hashes[0] == hashes[1]
    bits = np.unpackbits(np.frombuffer(hashes[0], np.uint8)) != np.unpackbits(np.frombuffer(hashes[2], np.uint8))
    assert bits.sum() <= 4


def test_other_garments_have_other_hashes(fashion: Splits) -> None:
    bags = np.asarray(fashion.train.images[fashion.train.labels == 8][:200])
    assert len({difference_hash(bag) for bag in bags}) > 190


def test_a_flat_image_and_a_single_pixel_are_flat() -> None:
    assert difference_hash(np.full((50, 40), 9, np.uint8)) == FLAT
    assert difference_hash(np.full((1, 1, 3), 9, np.uint8)) == FLAT


def test_numbers_belong_to_a_class_and_a_look() -> None:
    rows = [bytes([i]) * 16 for i in range(6)]
    looks = [b"lookalik", b"lookalik", b"lookalik", b"another1", FLAT, FLAT]
    numbers = group_numbers(["a", "a", "b", "a", "a", "a"], rows, looks)
    assert numbers[0] == numbers[1]
    assert len(set(numbers.tolist())) == 5
    assert group_numbers(["a"], rows[1:2], looks[1:2])[0] == numbers[0]  # whatever else is there
