"""Decoding in processes: pixels or errors, in order, for threads and for asyncio."""

import asyncio
from pathlib import Path

import numpy as np

from frostline.data.decoding.decoder import Decoders
from frostline.data.decoding.target import Target
from frostline.errors import DataError
from tests.hostile_files import encoded


def test_good_images_are_decoded_beside_bad_ones(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    good = encoded(pixels, "PNG")
    with Decoders(2) as decoders:
        first, bad, gone, last = decoders.decode([good, good[:40], tmp_path / "gone.png", good])
    np.testing.assert_array_equal(first, pixels)
    np.testing.assert_array_equal(last, pixels)
    assert isinstance(bad, DataError)
    assert str(gone) == f"{tmp_path / 'gone.png'} cannot be read: No such file or directory."


def test_limits_are_the_decoders() -> None:
    good = encoded(np.full((30, 40), 7, np.uint8), "PNG")
    with Decoders(1, target=Target(10), formats=("PNG",), max_pixels=1200) as decoders:
        assert decoders.submit(good).result().shape == (15, 15)
        assert "not a readable image" in str(decoders.submit(encoded(np.zeros((4, 4), np.uint8), "GIF")).result())
        assert "at most 1,200 are read" in str(decoders.submit(encoded(np.zeros((31, 40), np.uint8), "PNG")).result())


def test_asyncio_waits_for_an_image() -> None:
    async def decoded(data: bytes) -> object:
        with Decoders(1) as decoders:
            return await asyncio.wrap_future(decoders.submit(data))

    assert asyncio.run(decoded(encoded(np.full((1, 2), 9, np.uint8), "PNG"))).tolist() == [[9, 9]]
