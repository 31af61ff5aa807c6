"""Small images: readable, small, found by position, and the same after a round trip."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from frostline.data.dataset import ImageDataset, Splits
from frostline.data.thumbnails import SIDE, Thumbnails, encode, make_thumbnails


def test_small_images_lose_nothing(fashion: Splits) -> None:
    shown = make_thumbnails(fashion.train, np.array([7, 3]))
    data = shown.at(3)
    assert data is not None and shown.at(5) is None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(fashion.train.images[3]))


def test_large_images_are_shrunk() -> None:
    data = encode(np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8))
    image = Image.open(io.BytesIO(data))
    assert max(image.size) <= SIDE and image.format == "JPEG"


def test_files_keep_their_names_in_a_round_trip(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "größe\n.png")]
    for path in paths:
        Image.new("RGB", (80, 90), "red").save(path)
    made = make_thumbnails(ImageDataset(tuple(paths), np.zeros(2, np.int64), ("red",)), np.arange(2))
    read = Thumbnails.from_tensors("some", made.to_tensors("some"))
    assert read.names == [str(path) for path in paths]
    assert read.encoded == made.encoded and len(read) == 2


def test_none_is_a_round_trip_too() -> None:
    none = Thumbnails(np.array([], np.int64), [], [])
    assert len(Thumbnails.from_tensors("no", none.to_tensors("no"))) == 0
