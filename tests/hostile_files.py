"""Files that end like images and are none, or lie about themselves; and odd ones that are good all the same."""

import functools
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(3)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def noise(height: int = 40, width: int = 40) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, *extra: bytes, color: int = 0, deflated: bool = False) -> bytes:
    """Write a PNG by hand: header, chunks of any kind, data."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0))
    body = rows if deflated else zlib.compress(rows)
    return SIGNATURE + header + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zeros_deflated(count: int) -> bytes:
    """Compress a lot of zeros without holding them."""
    packer, block = zlib.compressobj(), bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join([*parts, packer.compress(bytes(count & (1 << 20) - 1)), packer.flush()])


def tiff_with_a_loop(entries: int) -> bytes:
    """A directory that names itself as the next one, with too few entries to be an image."""
    tags = [struct.pack("<HHII", 256 + i, 4, 1, 1 << 20) for i in range(entries)]
    return b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(tags) + struct.pack("<I", 8)


def tiff_that_goes_on_with_itself() -> bytes:
    """A whole image whose next directory is its own."""
    whole = bytearray(encoded(noise(), "TIFF"))
    (start,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, start)
    struct.pack_into("<I", whole, start + 2 + 12 * entries, start)
    return bytes(whole)


def bmp(width: int, height: int, bits: int, body: bytes = b"") -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + header + body


def jpeg_of_scans(count: int, height: int = 40, width: int = 40) -> bytes:
    """A progressive JPEG whose last scan comes so many times more."""
    whole = encoded(noise(height, width), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * count + b"\xff\xd9"


def jpeg_of_empty_scans(count: int, side: int) -> bytes:
    """A progressive JPEG of one gray, and scans that say nothing: each costs a pass over all its blocks."""
    whole = encoded(np.full((side, side), 128, np.uint8), "JPEG", progressive=True)
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\x10" + b"\0"
    return whole[:-2] + scan * count + b"\xff\xd9"


def jpeg_of_comments(count: int) -> bytes:
    """A JPEG with empty comments before its pixels."""
    whole = encoded(noise(), "JPEG")
    return whole[:2] + b"\xff\xfe\0\2" * count + whole[2:]


def tiff_of_floats(side: int) -> bytes:
    """A TIFF of float zeros: a thousandth of its pixels' bytes."""
    return encoded(np.zeros((side, side), np.float32), "TIFF", compression="tiff_adobe_deflate")


def bmp_of_runs(side: int) -> bytes:
    """A BMP of run-length codes, which Pillow reads in Python."""
    body = bytes(1024) + (b"\xff\1" * (side // 255) + bytes((side % 255, 1, 0, 0))) * side + b"\0\1"
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(body) - 1024, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54 + 1024) + header + body


def gif_of_comments(count: int) -> bytes:
    """A GIF whose only frame comes behind very many comments."""
    whole = encoded(noise()[..., 0], "GIF")
    place = 13 + 3 * 256
    return whole[:place] + b"!\xfe\1a\0" * count + whole[place:]


def frames(kind: str, count: int, side: int = 40) -> bytes:
    """A GIF, PNG or WebP of so many frames."""
    buffer = io.BytesIO()
    images = [Image.fromarray(np.full((side, side, 3), number % 251, np.uint8)) for number in range(count)]
    images[0].save(buffer, kind, save_all=True, append_images=images[1:])
    return buffer.getvalue()


# Small files that cost decoders much time or memory, each by what makes it; some are images all the same.
COSTLY: dict[str, Callable[[], bytes]] = {
    "scans.jpg": lambda: jpeg_of_scans(2500),
    "empty scans.jpg": lambda: jpeg_of_empty_scans(2500, 2000),
    "allowed scans.jpg": lambda: jpeg_of_empty_scans(50, 3000),
    "comments.jpg": lambda: jpeg_of_comments(100_000),
    "floats.tif": lambda: tiff_of_floats(7000),
    "zeros rgba.png": lambda: png(7000, 7000, zeros_deflated(28_001 * 7000), color=6, deflated=True),
    "runs.bmp": lambda: bmp_of_runs(7000),
    "texts.png": lambda: png(40, 40, bytes(41 * 40), *[chunk(b"tEXt", b"a\0b")] * 60_000),
    "empty data.png": lambda: png(40, 40, bytes(41 * 40), *[chunk(b"IDAT", b"")] * 60_000),
    "text bombs.png": lambda: png(40, 40, bytes(41 * 40), *[chunk(b"zTXt", b"a\0\0" + zeros_deflated(1_000_000))] * 60),
    "comments.gif": lambda: gif_of_comments(100_000),
    "frames.gif": lambda: frames("GIF", 500),
    "frames.png": lambda: frames("PNG", 500),
    "frames.webp": lambda: frames("WEBP", 200),
    "vast.gif": lambda: encoded(np.zeros((7000, 7000), np.uint8), "GIF"),
    "vast.webp": lambda: encoded(np.zeros((7000, 7000, 3), np.uint8), "WEBP", lossless=True),
    "vast.tif": lambda: encoded(np.zeros((7000, 7000), np.uint8), "TIFF", compression="tiff_adobe_deflate"),
    "bomb.png": lambda: png(20_000, 20_000, zeros_deflated(20_001 * 20_000), color=0, deflated=True),
}


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.jpg", encoded(noise(), "JPEG"))
    return buffer.getvalue()


@functools.cache
def lies() -> dict[str, bytes]:
    """Files of many kinds that give no image, by name."""
    whole = encoded(noise(), "PNG")
    wrong_crc = bytearray(whole)
    wrong_crc[29] ^= 255  # of the header
    flipped = bytearray(whole)
    flipped[whole.index(b"IDAT") + 60] ^= 255
    text_bomb = chunk(b"zTXt", b"Comment\0\0" + zeros_deflated(100 << 20))
    profile_bomb = chunk(b"iCCP", b"profile\0\0" + zeros_deflated(100 << 20))
    gif = bytearray(encoded(noise(), "GIF"))
    gif[-len(gif) // 3 :] = bytes(len(gif) // 3 + 1)
    files = {
        "empty.jpg": b"",
        "one byte.png": b"\x89",
        "zeros.bmp": bytes(5000),
        "noise.tif": RNG.bytes(5000),
        "text.jpg": b"this is a letter, not an image\n" * 20,
        "page.png": b"<!doctype html><html><body><h1>404 Not Found</h1></body></html>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script/></svg>',
        "archive.jpeg": zipped(),
        "document.jpg": b"%PDF-1.7\n1 0 obj <</Type /Catalog>> endobj",
        "program.gif": b"\x7fELF\2\1\1" + bytes(300),
        "script.webp": b"#!/bin/sh\necho no\n",
        "wrong crc.png": bytes(wrong_crc),
        "flipped.png": bytes(flipped),
        "claims 60000.png": png(60_000, 60_000, bytes(1000)),
        "bomb 20000.png": png(20_000, 20_000, zeros_deflated(20_001 * 20_000), deflated=True),
        "most there is.png": png(2**31 - 1, 2**31 - 1, bytes(1000)),
        "nothing wide.png": png(0, 40, bytes(40)),
        "nothing high.png": png(40, 0, b""),
        "no palette.png": png(40, 40, bytes(41 * 40), color=3)[:-20],
        "text bomb.png": png(40, 40, bytes(41 * 40), text_bomb),
        "profile bomb.png": png(40, 40, bytes(41 * 40), profile_bomb),
        "broken frame.gif": bytes(gif[: len(gif) // 2]),
        "no frames.gif": b"GIF89a" + struct.pack("<HHBBB", 40, 40, 0, 0, 0) + b";",
        "vast.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b",",
        "vast.bmp": bmp(2**31 - 1, 2**31 - 1, 24),
        "negative.bmp": bmp(-40, 40, 24, bytes(40)),
        "odd depth.bmp": bmp(40, 40, 7, bytes(4000)),
        "nothing.bmp": bmp(40, 40, 24),
        "short.ppm": b"P6 40 40 255\n" + bytes(100),
        "vast.ppm": b"P6 99999999 99999999 255\n" + bytes(100),
        "words.pgm": b"P2 4 4 255\n" + b"one two three",
        "line\nbreak.jpg": b"no image",
        os.fsdecode(b"\xff\xfe.jpg"): b"no image",
        "chunks.webp": b"RIFF\xff\xff\xff\xffWEBPVP8 " + RNG.bytes(60),
    }
    files |= {f"loop {n}.tif": tiff_with_a_loop(n) for n in (0, 1, 3, 9)}
    return files


def cut(count: int) -> dict[str, bytes]:
    """Real images of every kind, cut at many places."""
    kinds = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
    wholes = [encoded(noise(), kind) for kind in kinds] + [encoded(noise(), "JPEG", progressive=True)]
    endings = (".jpg", ".png", ".webp", ".tiff", ".bmp", ".ppm", ".jpeg")
    files = {}
    for number in range(count):
        whole, ending = wholes[number % len(wholes)], endings[number % len(wholes)]
        files[f"cut {number:03d}{ending}"] = whole[: 3 + int((len(whole) - 3) * 0.9 * number / count)]
    return files


def no_files(folder: Path) -> list[str]:
    """Make what has an image's name and is no file; return the names."""
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.jpg")
    return ["folder.jpg", "dangling.png", "loop.png", "pipe.jpg"]


def write_bad(folder: Path, count: int) -> list[str]:
    """Write so many things that are no images; return their names."""
    names = no_files(folder)
    files = lies() | cut(count - len(names) - len(lies()))
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [*names, *files]


def write_odd(folder: Path) -> list[str]:
    """Write images that look odd from outside and are good; return their names."""
    gray = bytes(41 * 40)
    files = {
        "garbage in exif.jpg": encoded(noise(), "JPEG", exif=b"Exif\0\0" + RNG.bytes(900)),
        "large profile.jpg": encoded(noise(), "JPEG", icc_profile=RNG.bytes(3_000_000)),
        "profile of noise.png": encoded(noise(), "PNG", icc_profile=RNG.bytes(300_000)),
        "much text.png": png(40, 40, gray[:-1] + b"\7", chunk(b"tEXt", b"Comment\0" + b"a" * 500_000)),
        "trailing.jpg": encoded(noise(), "JPEG") + RNG.bytes(2000),
        "goes on.tif": tiff_that_goes_on_with_itself(),
        "strip.png": encoded(noise(1, 10_000), "PNG"),
        "pole.jpg": encoded(noise(10_000, 1), "JPEG"),
        "really a png.jpg": encoded(noise(), "PNG"),
        "one pixel.gif": encoded(noise(1, 1), "GIF"),
        "line\nbreak.png": encoded(noise(), "PNG"),
        'comma, "quote".png': encoded(noise(), "PNG"),
        "\u96ea \u2744.png": encoded(noise(), "PNG"),
        os.fsdecode(b"caf\xe9.png"): encoded(noise(), "PNG"),
        "-rf.png": encoded(noise(), "PNG"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return list(files)


def write_good(folder: Path, count: int) -> None:
    """Write small images of four classes, each with a brightness and a direction of its own."""
    slopes = np.linspace(0, 90, 32)
    for number in range(count):
        label = number % 4
        height, width = 24 + number % 7, 24 + number % 9
        plane = (
            np.broadcast_to(slopes[:width], (height, width)) if label % 2 else slopes[:height, None] + np.zeros(width)
        )
        pixels = np.clip(40 + 35 * label + plane + RNG.normal(size=(height, width)) * 12, 0, 255).astype(np.uint8)
        pixels = pixels if number % 3 else np.stack([pixels, pixels // 2, pixels], -1)
        kind, ending = (("PNG", ".png"), ("JPEG", ".jpg"))[number // 4 % 2]
        place = folder / f"class {label}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04d}{ending}").write_bytes(encoded(pixels, kind))
