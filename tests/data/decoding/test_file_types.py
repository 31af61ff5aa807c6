"""What is no image that can be read is called by its name, with what to do; what can be read is, whatever its name."""

import io

import numpy as np
import pytest
from PIL import Image, features

from frostline.data.decoding.decode import SUFFIXES, decode_image
from frostline.data.decoding.file_checks import OTHER_SUFFIXES, other_kind
from frostline.errors import DataError


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
    assert other_kind(b"") is None
    assert other_kind(b"some words") is None


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
