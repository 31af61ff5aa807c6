"""Folders of real images as people have them: garments in mixed kinds and sizes, and files that are no images."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from frostline.data.dataset import ImageDataset

CLASSES = {"bag": 8, "boot": 9, "trouser": 1}  # names of folders, numbers in Fashion-MNIST


def garments(images: ImageDataset, number: int, count: int) -> list[np.ndarray]:
    """The first images of one class, (28, 28) each."""
    return list(np.asarray(images.images[np.flatnonzero(images.labels == number)[:count]]))


def _turned(gray: Image.Image) -> Image.Image:
    """Lies on its side, with a camera's note that says so."""
    turned = gray.convert("RGB").transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    return turned


def encode(pixels: np.ndarray, kind: int) -> tuple[str, bytes]:
    """Write a gray image as one of eight kinds of file; return the file's ending and its bytes."""
    gray = Image.fromarray(pixels).resize((28 + 5 * kind, 28 + 3 * kind))
    wide = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    turned = _turned(gray)
    kinds = (
        (".png", gray, {}),
        (".jpg", gray.convert("RGB"), {"quality": 95}),
        (".png", gray.convert("RGB").quantize(32), {}),
        (".png", Image.merge("RGBA", [gray, gray, gray, gray.point(lambda value: 255 if value else 0)]), {}),
        (".jpg", gray.convert("CMYK"), {"quality": 95}),
        (".png", wide, {}),
        (".JPEG", turned, {"exif": turned.getexif()}),
        (".gif", gray.convert("P"), {"save_all": True, "append_images": [Image.new("P", gray.size)]}),
    )
    ending, image, options = kinds[kind]
    buffer = io.BytesIO()
    image.save(buffer, {".png": "PNG", ".gif": "GIF"}.get(ending, "JPEG"), **options)
    return ending, buffer.getvalue()


def write_classes(root: Path, images: ImageDataset, per_class: int = 20, kinds: int = 8) -> Path:
    """Write ``root/CLASS/NN.ending``, one kind of file after the other."""
    for name, number in CLASSES.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i, pixels in enumerate(garments(images, number, per_class)):
            ending, data = encode(pixels, i % kinds)
            (root / name / f"{i:02d}{ending}").write_bytes(data)
    return root


def huge_claim() -> bytes:
    """A small PNG that says it has 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def write_hostile(folder: Path, images: ImageDataset) -> dict[str, str]:
    """Write files that cannot be read; return each one's name with a part of the reason."""
    whole = encode(garments(images, 8, 1)[0], 1)[1]
    files = {
        "truncated.jpg": (whole[: len(whole) // 2], "is damaged and cannot be decoded"),
        "empty.png": (b"", "is empty"),
        "text.png": (b"this is no image\n" * 9, "is not a readable image"),
        "huge.png": (huge_claim(), "claims"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: reason for name, (_, reason) in files.items()}
