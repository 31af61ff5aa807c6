"""Files that cost much for few pixels are refused by their bytes, and those that get past have a budget."""

import struct
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.data.decoding.decode import decode_image, examine
from frostline.data.decoding.file_checks import MAX_SCANS, Budget, count_scans, excess
from frostline.data.decoding.pool import Workers
from frostline.errors import DataError
from tests.hostile_files import bmp, chunk, encoded, noise, png, zeros_deflated

JPEG = encoded(noise(), "JPEG")
PROGRESSIVE = encoded(noise(), "JPEG", progressive=True)


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    last = PROGRESSIVE.rindex(b"\xff\xda")
    return PROGRESSIVE[:-2] + PROGRESSIVE[last:-2] * count + b"\xff\xd9"


def test_real_images_are_within_bounds() -> None:
    assert count_scans(JPEG) == 1
    assert 5 < count_scans(PROGRESSIVE) < 15
    for kind in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"):
        assert excess(encoded(noise(), kind)) is None


def test_scans_in_previews_comments_and_videos_do_not_count() -> None:
    preview = b"\xff\xe1" + struct.pack(">H", 60_002) + b"\xff\xda\0\2" * 15_000
    assert excess(JPEG[:2] + preview + JPEG[2:]) is None
    assert excess(JPEG + b"\xff\xda\0\2" * 15_000) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_scans(2500), f"has more than {MAX_SCANS} scans"),
        (JPEG[:2] + b"\xff\xfe\0\2" * 75_000 + JPEG[2:], "has more than 2,000 segments before its pixels"),
        (JPEG[:2] + (b"\xff\xe1\0\x20" + bytes(30)) * 9000 + JPEG[2:], "has more than 2,000 segments"),
        (png(40, 40, bytes(41 * 40), *[chunk(b"tEXt", b"a\0b")] * 60_000), "has more than 5,"),
        (png(40, 40, bytes(41 * 40), *[chunk(b"IDAT", b"")] * 60_000), "has more than 4,"),
    ],
    ids=["scans", "comments", "application segments", "texts", "empty data"],
)
def test_floods_are_refused_at_once(data: bytes, reason: str) -> None:
    begun = time.process_time()
    with pytest.raises(DataError, match=f"^the image {reason}"):
        decode_image(data)
    assert time.process_time() - begun < 0.5


def test_few_scans_more_are_decoded() -> None:
    assert decode_image(with_scans(20)).shape == (40, 40, 3)


@pytest.mark.parametrize(
    ("data", "need"),
    [
        (png(10_000, 10_000, zeros_deflated(1 << 20), color=6, deflated=True), "needs 400 MB.*10000 x 10000.*RGBA"),
        (png(9_000, 9_000, zeros_deflated(1 << 20), color=2, deflated=True), "needs 324 MB.*RGB"),
        (bmp(9_000, 9_000, 24), "needs 324 MB"),
    ],
    ids=["RGBA", "RGB", "BMP"],
)
def test_an_image_that_needs_too_much_memory_is_refused_before_decoding(data: bytes, need: str) -> None:
    with pytest.raises(DataError, match=f"{need}.* at most 300 MB are used"):
        decode_image(data, 224)


def test_who_allows_more_pixels_allows_more_memory() -> None:
    data = png(10_000, 10_000, zeros_deflated(1 << 20), color=6, deflated=True)
    with pytest.raises(DataError, match="is damaged"):
        decode_image(data, 224, max_pixels=200_000_000)


def test_a_decoder_that_goes_on_for_long_is_ended(tmp_path: Path) -> None:
    head = bmp(10, 10_000, 8)[:54]
    path = tmp_path / "runs.bmp"
    packed = head[:30] + struct.pack("<I", 1) + head[34:46] + struct.pack("<I", 256) + bytes(1028)
    path.write_bytes(packed + b"\xff\7" * 5_000_000)
    with Workers(1) as workers:
        slow, good = workers.map(
            partial(decode_image, side=32), [path, JPEG], budget=Budget(0.3), lost=lambda item, reason: (item, reason)
        )
    assert slow == (path, "takes more than 0.3 s to decode")
    assert good.shape == (40, 40, 3)


def test_large_jpegs_are_looked_at_reduced_and_keep_their_size() -> None:
    data = encoded(np.full((1200, 2600, 3), 90, np.uint8), "JPEG")
    pixels, side, _ = examine(data, 512)
    assert pixels.shape == (600, 1300, 3)
    assert side == 2600


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "F", "I;16"])
def test_strips_give_what_the_whole_gives(mode: str) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (1300, 700, 4), dtype=np.uint8)
    if mode == "F":
        image = Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
        whole = (np.asarray(image).astype(np.float64) * 255).astype(np.uint8)
    elif mode == "I;16":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        whole = pixels[..., 0]
    else:
        rgba = Image.fromarray(pixels)
        image = rgba.convert("RGB").convert(mode) if mode in ("P", "CMYK") else rgba.convert(mode)
        white = Image.new("RGBA", image.size, "white")
        seen = Image.alpha_composite(white, image.convert("RGBA")) if mode in ("RGBA", "LA") else image
        whole = np.asarray(seen.convert("RGB"))
    found = decode_image(encoded_as(image, "TIFF" if mode in ("CMYK", "F") else "PNG"))
    np.testing.assert_array_equal(found, whole)
    shrunk = decode_image(encoded_as(image, "TIFF" if mode in ("CMYK", "F") else "PNG"), 350)
    np.testing.assert_array_equal(shrunk, np.asarray(Image.fromarray(whole).reduce(2))[150:500])


def encoded_as(image: Image.Image, kind: str) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_text_that_unpacks_to_much_is_refused() -> None:
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(50 << 20)))
    with pytest.raises(DataError, match="is damaged"):
        decode_image(png(40, 40, bytes(41 * 40), bomb))
