"""Which images are cheap to decode, by their bytes alone; and what a cheap one may cost."""

import time
from contextlib import suppress

import numpy as np
import pytest

from frostline.data.decoding.decode import decode_image
from frostline.data.decoding.file_checks import CHEAP_BY_MAGIC, is_cheap
from frostline.errors import DataError
from tests.hostile_files import (
    bmp,
    bmp_of_runs,
    cut,
    encoded,
    frames,
    gif_of_comments,
    jpeg_of_comments,
    jpeg_of_empty_scans,
    noise,
    png,
    tiff_of_floats,
)


def photo(kind: str, width: int, height: int, **options: object) -> bytes:
    return encoded(np.broadcast_to(np.uint8(90), (height, width, 3)), kind, **options)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_usual_images_of_every_kind_are_cheap(kind: str) -> None:
    assert is_cheap(encoded(noise(100, 120), kind)) and is_cheap(encoded(noise(100, 120)[..., 0], kind))


@pytest.mark.parametrize(
    "data",
    [
        photo("JPEG", 4000, 3000),
        photo("JPEG", 1200, 900, progressive=True),
        photo("JPEG", 4000, 3000) + b"\xff\xda" * 5000,  # a video behind the image
        photo("PNG", 1920, 1080),
        encoded(np.zeros((500, 500), np.float32), "TIFF"),
        encoded(np.zeros((500, 500), np.uint16), "TIFF"),
        frames("PNG", 3),
        frames("WEBP", 3),
        frames("GIF", 3),
    ],
    ids=["camera", "progressive", "video behind", "screen", "floats", "16 bits", "png", "webp", "gif"],
)
def test_what_people_send_is_cheap(data: bytes) -> None:
    assert is_cheap(data)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_of_empty_scans(20, 2000),
        tiff_of_floats(4000),
        png(7000, 7000, b"", color=6),
        png(40, 40, b"", *[b"\0\0\0\0tEXt\0\0\0\0"] * 1500),
        bmp_of_runs(300),
        bmp(7000, 7000, 24),
        gif_of_comments(20_000),
        photo("JPEG", 8000, 6000),
        b"\0\0\0\x1cftypavif",
    ],
    ids=["scans", "floats", "rgba", "chunks", "runs", "bmp", "gif", "vast", "avif"],
)
def test_what_its_header_does_not_bound_is_costly(data: bytes) -> None:
    assert not is_cheap(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just words",
        b"%PDF-1.7 ",
        jpeg_of_empty_scans(2500, 2000),
        jpeg_of_comments(5000),
        png(40, 40, b"", *[b"\0\0\0\0tEXt\0\0\0\0"] * 9000),
    ],
    ids=["nothing", "words", "pdf", "scans", "comments", "chunks"],
)
def test_what_is_refused_at_once_is_cheap(data: bytes) -> None:
    assert is_cheap(data)
    begun = time.process_time()
    with pytest.raises(DataError):
        decode_image(data, 64)
    assert time.process_time() - begun < 0.2


def test_cut_files_are_judged_without_an_error_and_cheap_ones_end_soon() -> None:
    for data in cut(140).values():
        begun = time.process_time()
        if is_cheap(data):
            with suppress(DataError):
                decode_image(data, 64)
            assert time.process_time() - begun < 0.5


def test_random_bytes_behind_every_signature_are_judged() -> None:
    random = np.random.default_rng(0)
    for start in (*(magic for magic, _ in CHEAP_BY_MAGIC.values()), b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xc2\0\x0b"):
        for length in (0, 1, 7, 30, 300):
            assert {is_cheap(start + random.bytes(length)) for _ in range(50)} <= {True, False}
