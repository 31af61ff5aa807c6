"""File types, structural limits and decoding costs, from a file's bytes."""

import io
import struct
import time
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from frostline.data.decoding.decode import SUFFIXES, decode_image, examine
from frostline.data.decoding.file_checks import (
    CHEAP_BY_MAGIC,
    MAX_SCANS,
    OTHER_SUFFIXES,
    Budget,
    count_scans,
    excess_reason,
    identify_unsupported,
    is_cheap,
)
from frostline.data.decoding.pool import Workers
from frostline.data.decoding.target import Target
from frostline.errors import DataError
from tests.hostile_files import (
    bmp,
    bmp_of_runs,
    chunk,
    cut,
    encoded,
    frames,
    gif_of_comments,
    jpeg_of_comments,
    jpeg_of_empty_scans,
    noise,
    png,
    tiff_of_floats,
    zeros_deflated,
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"is HEIC: .*frostline\[heif\]"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "is HEIC"),
        (bytes(128) + b"DICM\2\0", "is DICOM: convert"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg width="9"/>', "is an SVG drawing: convert"),
        (b"%PDF-1.7\n", "is a PDF"),
        (b"8BPS\0\1", "is a Photoshop document"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is JPEG XL"),
        (b"\xff\x0a\xfa", "is JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is JPEG 2000"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw file"),
        (b"FUJIFILMCCD-RAW 0201", "raw file"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"\0\0\0\x18ftypmp42", "is a video"),
        (b"PK\3\4", "is an archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "is an HTML page"),
    ],
)
def test_what_is_no_image_is_named(data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=f"^the image {words}" if words.startswith("is") else words) as refused:
        decode_image(data + bytes(40))
    assert "\n" not in str(refused.value)


def test_unknown_bytes_have_no_name() -> None:
    assert identify_unsupported(b"") is None
    assert identify_unsupported(b"some words") is None


def test_endings_of_images_and_of_others_are_apart() -> None:
    assert not SUFFIXES & set(OTHER_SUFFIXES)
    assert {".jfif", ".jpe", ".avif", ".heic"} <= SUFFIXES


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (200, 30, 60)).save(buffer, "AVIF", quality=90)
    decoded = decode_image(buffer.getvalue())
    assert decoded.shape == (20, 30, 3)
    np.testing.assert_allclose(decoded, np.broadcast_to([200, 30, 60], decoded.shape), atol=6)


def test_the_preview_in_front_of_a_raw_image_is_not_taken_for_it() -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags, buffer = ImageFileDirectory_v2(), io.BytesIO()
    tags[254] = 1
    Image.new("RGB", (16, 12)).save(buffer, "TIFF", tiffinfo=tags)
    with pytest.raises(DataError, match="begins with a small preview"):
        decode_image(buffer.getvalue())


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
        assert excess_reason(encoded(noise(), kind)) is None


def test_scans_in_previews_comments_and_videos_do_not_count() -> None:
    preview = b"\xff\xe1" + struct.pack(">H", 60_002) + b"\xff\xda\0\2" * 15_000
    assert excess_reason(JPEG[:2] + preview + JPEG[2:]) is None
    assert excess_reason(JPEG + b"\xff\xda\0\2" * 15_000) is None


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
        decode_image(data, Target(224))


def test_who_allows_more_pixels_allows_more_memory() -> None:
    data = png(10_000, 10_000, zeros_deflated(1 << 20), color=6, deflated=True)
    with pytest.raises(DataError, match="is damaged"):
        decode_image(data, Target(224), max_pixels=200_000_000)


def test_a_decoder_that_goes_on_for_long_is_ended(tmp_path: Path) -> None:
    head = bmp(10, 10_000, 8)[:54]
    path = tmp_path / "runs.bmp"
    packed = head[:30] + struct.pack("<I", 1) + head[34:46] + struct.pack("<I", 256) + bytes(1028)
    path.write_bytes(packed + b"\xff\7" * 5_000_000)
    with Workers(1) as workers:
        slow, good = workers.map(
            partial(decode_image, target=Target(32)),
            [path, JPEG],
            budget=Budget(0.3),
            lost=lambda item, reason: (item, reason),
        )
    assert slow == (path, "takes more than 0.3 s to decode")
    assert good.shape == (40, 40, 3)


def test_large_jpegs_are_looked_at_reduced_and_keep_their_size() -> None:
    data = encoded(np.full((1200, 2600, 3), 90, np.uint8), "JPEG")
    examined = examine(data)
    assert examined.pixels.shape == (150, 325, 3)
    assert examined.longer_side == 2600


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
    shrunk = decode_image(encoded_as(image, "TIFF" if mode in ("CMYK", "F") else "PNG"), Target(350))
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
        decode_image(data, Target(64))
    assert time.process_time() - begun < 0.2


def test_cut_files_are_judged_without_an_error_and_cheap_ones_end_soon() -> None:
    for data in cut(140).values():
        begun = time.process_time()
        if is_cheap(data):
            with suppress(DataError):
                decode_image(data, Target(64))
            assert time.process_time() - begun < 0.5


def test_random_bytes_behind_every_signature_are_judged() -> None:
    random = np.random.default_rng(0)
    for start in (*(magic for magic, _ in CHEAP_BY_MAGIC.values()), b"II*\0\x08\0\0\0", b"\xff\xd8\xff\xc2\0\x0b"):
        for length in (0, 1, 7, 30, 300):
            assert {is_cheap(start + random.bytes(length)) for _ in range(50)} <= {True, False}
