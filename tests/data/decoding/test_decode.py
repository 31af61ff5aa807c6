"""Decoding of every mode and format, and the square that a network gets."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from frostline.data.decoding.decode import FORMATS, MAX_PIXELS, SUFFIXES, decode_image, image_header
from frostline.data.decoding.file_checks import identify_unsupported
from frostline.data.decoding.target import FITS, Target
from frostline.data.preprocess import Preprocess
from frostline.errors import DataError

RNG = np.random.default_rng(7)
GRAY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
COLOR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 9), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def on_white(pixels: np.ndarray) -> np.ndarray:
    """Lay (6, 9, 3) on white by the textbook formula."""
    share = ALPHA[..., None] / 255
    return pixels * share + 255 * (1 - share)


def test_gray_stays_gray(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), GRAY)


def test_content_is_read_like_the_file(tmp_path: Path) -> None:
    Image.fromarray(COLOR).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image((tmp_path / "a.png").read_bytes()), COLOR)


def test_black_and_white_becomes_gray() -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(GRAY > 99), "PNG")), (GRAY > 99) * np.uint8(255))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_color_survives_every_lossless_format(kind: str) -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(COLOR), kind)), COLOR)


def test_lossless_webp_survives() -> None:
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(COLOR), "WEBP", lossless=True)), COLOR)


@pytest.mark.parametrize(("pixels", "shape"), [(GRAY, (6, 9)), (COLOR, (6, 9, 3))])
def test_jpeg_is_read_in_its_own_colors(pixels: np.ndarray, shape: tuple[int, ...]) -> None:
    flat = np.full_like(pixels, 120)
    decoded = decode_image(encoded(Image.fromarray(flat), "JPEG"))
    assert decoded.shape == shape
    np.testing.assert_allclose(decoded, flat, atol=2)


def test_palette_becomes_rgb() -> None:
    palette = Image.fromarray(COLOR).quantize(16)
    decoded = decode_image(encoded(palette, "PNG"))
    np.testing.assert_array_equal(decoded, np.asarray(palette.convert("RGB")))


def test_palette_transparency_is_laid_on_white() -> None:
    palette = Image.new("P", (9, 6))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1, 0] * 18)
    decoded = decode_image(encoded(palette, "PNG", transparency=1))
    np.testing.assert_array_equal(np.unique(decoded.reshape(-1, 3), axis=0), [[10, 20, 30], [255, 255, 255]])


def test_color_with_alpha_is_laid_on_white() -> None:
    decoded = decode_image(encoded(Image.fromarray(np.dstack([COLOR, ALPHA])), "PNG"))
    np.testing.assert_allclose(decoded, on_white(COLOR), atol=1)


def test_gray_with_alpha_is_laid_on_white() -> None:
    decoded = decode_image(encoded(Image.fromarray(np.dstack([GRAY, ALPHA])), "PNG"))
    np.testing.assert_allclose(decoded, on_white(np.dstack([GRAY] * 3)), atol=1)


def test_one_transparent_gray_is_laid_on_white() -> None:
    decoded = decode_image(encoded(Image.fromarray(np.array([[0, 7, 9]], np.uint8)), "PNG", transparency=7))
    assert decoded.tolist() == [[[0, 0, 0], [255, 255, 255], [9, 9, 9]]]


def test_cmyk_jpeg_becomes_rgb() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    decoded = decode_image(encoded(red, "JPEG"))
    assert decoded.shape == (8, 8, 3)
    np.testing.assert_allclose(decoded[4, 4], [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_gray_is_scaled_not_cut(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert decode_image(encoded(Image.fromarray(deep), kind)).tolist() == [[0, 0, 1, 128, 255]]


def test_big_endian_sixteen_bit_gray_is_read() -> None:
    decoded = decode_image(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32768, 65535))
    assert decoded.tolist() == [[0, 127, 255]]  # 127.5 in bytes


@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        (np.array([[0, 7, 255]], np.int32), [0, 7, 255]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 127, 255]),
        (np.array([[-5, 10, 255]], np.int32), [0, 10, 255]),
        (np.array([[0, 128.5, 255]], np.float32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 127, 255]),
        (np.array([[0, 32768, 65535]], np.float32), [0, 127, 255]),
    ],
)
def test_tiff_of_wide_numbers_is_scaled_to_bytes(values: np.ndarray, pixels: list[int]) -> None:
    assert decode_image(encoded(Image.fromarray(values), "TIFF")).tolist() == [pixels]


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (9, 6), color) for color in ("red", "lime", "blue")]
    decoded = decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    np.testing.assert_array_equal(decoded, np.broadcast_to([255, 0, 0], (6, 9, 3)))


@pytest.mark.parametrize(
    ("note", "turned"),
    [
        (1, COLOR),
        (2, COLOR[:, ::-1]),
        (3, COLOR[::-1, ::-1]),
        (6, np.rot90(COLOR, -1)),
        (8, np.rot90(COLOR, 1)),
    ],
)
def test_rotation_note_of_a_camera_is_obeyed(note: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = note
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(COLOR), "PNG", exif=exif)), turned)


def test_size_and_mode_need_the_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("L", (70, 30)).save(path)
    assert image_header(path) == ((70, 30), "L")
    path.write_bytes(path.read_bytes()[:-20])
    assert image_header(path) == ((70, 30), "L")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        image_header(tmp_path / "gone.png")


def test_single_pixel_is_a_image() -> None:
    assert decode_image(encoded(Image.new("L", (1, 1), 9), "PNG")).tolist() == [[9]]


def test_name_of_the_file_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(Image.fromarray(GRAY), "PNG"))
    np.testing.assert_array_equal(decode_image(path), GRAY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=rf"^{path} is (damaged and cannot be decoded|not a readable image): ") as no:
        decode_image(path)
    assert "\n" not in str(no.value)


def test_file_with_a_flipped_checksum_is_refused() -> None:
    whole = bytearray(encoded(Image.fromarray(GRAY), "PNG"))
    whole[whole.index(b"IDAT") + 10] ^= 255
    with pytest.raises(DataError, match=r"^the image is damaged and cannot be decoded"):
        decode_image(bytes(whole))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just some words",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>',
        encoded(Image.new("RGB", (4, 4)), "EPS"),
        encoded(Image.new("RGB", (4, 4)), "PDF"),
        encoded(Image.new("RGB", (4, 4)), "TGA"),
        encoded(Image.new("RGB", (16, 16)), "ICO"),
    ],
    ids=["empty", "text", "svg", "eps", "pdf", "tga", "ico"],
)
def test_other_kinds_of_file_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(content)
    known = identify_unsupported(content) or f"is not a readable image: expected one of {', '.join(FORMATS)}"
    with pytest.raises(DataError) as refused:
        decode_image(path)
    assert str(refused.value) == f"{path} {known}."


def bomb(width: int, height: int) -> bytes:
    """A tiny PNG that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(12_000, 10_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_pixel_bomb_is_refused_before_decoding(width: int, height: int) -> None:
    with pytest.raises(DataError, match=rf"^the image claims .*: at most {MAX_PIXELS:,} are read\.$"):
        decode_image(bomb(width, height))


@pytest.mark.parametrize(("name", "why"), [("gone.png", "No such file"), (".", "it is a folder")])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(DataError, match=f"^{tmp_path / name} cannot be read: {why}"):
        decode_image(tmp_path / name)


def test_every_suffix_belongs_to_a_format_that_is_read() -> None:
    known = Image.registered_extensions() | dict.fromkeys((".heic", ".heif"), "HEIF")  # that is pillow-heif's
    assert {known[suffix] for suffix in SUFFIXES} <= set(FORMATS)


NOISE = np.random.default_rng(5)


def photograph(height: int, width: int) -> np.ndarray:
    """A smooth image in color with some noise of a sensor, (H, W, 3)."""
    parts = [
        Image.fromarray(NOISE.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for n in (4, 12, 40)
    ]
    image = sum(np.asarray(part, np.float64) * weight for part, weight in zip(parts, (0.5, 0.3, 0.2), strict=True))
    return np.clip(image + NOISE.normal(size=image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "crop", "pad", "squash"),
    [
        ((640, 480), 2, 2, (2, 2)),
        ((447, 500), 2, 2, (2, 2)),
        ((446, 500), 1, 2, (1, 2)),
        ((28, 28), 1, 1, (1, 1)),
        ((1, 9000), 1, 32, (1, 32)),
        ((4000, 6000), 16, 16, (16, 16)),
        ((300, 2000), 1, 8, (1, 8)),
    ],
)
def test_halved_while_what_is_used_stays_large_enough(
    size: tuple[int, int], crop: int, pad: int, squash: tuple[int, int]
) -> None:
    assert Target(224, "crop").factors(*size) == (crop, crop)
    assert Target(224, "pad").factors(*size) == (pad, pad)
    assert Target(224, "squash").factors(*size) == squash


def test_an_image_is_halved_to_one_pixel_and_no_further() -> None:
    assert [Target(1).factors(width, 9)[0] for width in (1, 2, 8, 9)] == [1, 2, 8, 16]


@pytest.mark.parametrize("shape", [(480, 640), (447, 894), (895, 1000, 3), (64, 65), (9, 400, 3), (226, 224)])
@pytest.mark.parametrize("target", [Target(side, fit) for side in (64, 224) for fit in FITS], ids=str)
def test_what_is_square_goes_through_unchanged(shape: tuple[int, ...], target: Target) -> None:
    framed = np.asarray(target.apply(Image.fromarray(NOISE.integers(0, 256, shape, dtype=np.uint8))))
    assert max(framed.shape[:2]) < 2 * target.side
    if target.fit != "squash":
        assert framed.shape[0] == framed.shape[1] >= min(*shape[:2], target.side)
    np.testing.assert_array_equal(target.apply(Image.fromarray(framed)), framed)
    np.testing.assert_array_equal(target.apply_to_all(framed[None])[0], framed)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(1, 9000), (3, 2000), (5000, 7)])
def test_poles_are_images_too(size: tuple[int, int], fit: str) -> None:
    data = encoded(Image.new("RGB", size, (10, 200, 30)), "JPEG", quality=95)
    pixels = Preprocess(64, fit=fit).resize([decode_image(data, Target(64, fit))])
    assert pixels.shape == (1, 3, 64, 64)
    assert (pixels[0].mean((1, 2)) - torch.tensor([10.0, 200.0, 30.0])).abs().max() < 4


def test_a_padded_image_is_whole_in_the_middle_of_the_mean_of_its_border() -> None:
    pixels = np.full((4, 2, 3), 200, np.uint8)
    pixels[0, 0] = (0, 50, 201)
    framed = np.asarray(Target(4, "pad").apply(Image.fromarray(pixels)))
    np.testing.assert_array_equal(framed[:, 1:3], pixels)
    assert framed[:, [0, 3]].reshape(-1, 3).tolist() == [[175, 181, 200]] * 8  # 175, 181.25, 200.125 rounded


def test_the_inside_of_an_image_has_no_part_in_its_padding() -> None:
    pixels = np.full((9, 5), 10, np.uint8)
    pixels[1:-1, 1:-1] = 255
    framed = np.asarray(Target(9, "pad").apply(Image.fromarray(pixels)))
    assert framed.shape == (9, 9) and set(framed[:, :2].ravel()) == set(framed[:, 7:].ravel()) == {10}


def test_an_object_at_the_edge_of_a_panorama_is_seen_unless_it_is_cropped() -> None:
    pixels = np.full((200, 1200, 3), 128, np.uint8)
    pixels[50:150, 1050:1150] = (255, 0, 0)
    seen = {fit: Preprocess(64, fit=fit).resize(pixels[None])[0, 0].max().item() for fit in FITS}
    assert seen["crop"] < 129 and seen["pad"] > 240 and seen["squash"] > 240


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(480, 640), (447, 894, 3), (65, 64), (90, 900, 3)])
def test_files_without_loss_give_what_their_pixels_give(shape: tuple[int, ...], fit: str) -> None:
    pixels, target = NOISE.integers(0, 256, shape, dtype=np.uint8), Target(100, fit)
    decoded = decode_image(encoded(Image.fromarray(pixels), "PNG"), target)
    np.testing.assert_array_equal(decoded, target.apply_to_all(pixels[None])[0])


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(640, 480), (895, 899), (3700, 2500)])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_is_halved_nearly_as_its_pixels_are(size: tuple[int, int], options: dict[str, object], fit: str) -> None:
    data = encoded(Image.fromarray(photograph(size[1], size[0])), "JPEG", quality=90, **options)
    target = Target(224, fit)
    quick, whole = decode_image(data, target), target.apply_to_all(decode_image(data)[None])[0]
    assert quick.shape == whole.shape
    assert np.abs(quick.astype(int) - whole).mean() < 1.5


@pytest.mark.parametrize("fit", FITS)
def test_a_jpeg_that_lies_on_its_side_is_turned_and_halved(fit: str) -> None:
    pixels, target = photograph(480, 640), Target(200, fit)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = decode_image(encoded(Image.fromarray(pixels), "JPEG", exif=exif), target)
    straight = decode_image(encoded(Image.fromarray(pixels), "JPEG"), target)
    np.testing.assert_array_equal(turned, np.rot90(straight, -1))
