"""Small images, encoded: what a run keeps to show without its data set."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from frostline._utils.storage import write_bytes
from frostline.data.augment import View
from frostline.data.dataset import ImageDataset
from frostline.data.preprocess import Preprocess

SIDE = 64  # pixels of the longer side; smaller images are not enlarged
LOSSLESS_SIDE = 32
JPEG_QUALITY = 85
AT_ONCE = 64  # images that are decoded together


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Encoded images, by their positions in a split.

    Attributes
    ----------
    positions : ndarray of int64, shape (M,)
    encoded : sequence of bytes
        One PNG (up to 32 pixels) or JPEG each.
    names : sequence of str
        Where each came from; empty strings for images that were no files.
    """

    positions: NDArray[np.int64]
    encoded: Sequence[bytes]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.encoded)

    def at(self, position: int) -> bytes | None:
        """Return the image of one position of the split, if it is among these."""
        found = np.flatnonzero(self.positions == position)
        return self.encoded[found[0]] if len(found) else None

    def to_tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return them as tensors: positions, all bytes in a row, and where each ends."""
        names = [name.encode(errors="surrogateescape") for name in self.names]
        return {
            f"{prefix}.positions": torch.from_numpy(self.positions),
            f"{prefix}.bytes": _bytes(b"".join(self.encoded)),
            f"{prefix}.ends": torch.tensor([len(data) for data in self.encoded], dtype=torch.int64).cumsum(0),
            f"{prefix}.names": _bytes(b"".join(names)),
            f"{prefix}.name_ends": torch.tensor([len(name) for name in names], dtype=torch.int64).cumsum(0),
        }

    @classmethod
    def from_tensors(cls, prefix: str, tensors: dict[str, torch.Tensor]) -> "Thumbnails":
        """Return what `to_tensors` wrote.

        Raises
        ------
        KeyError, ValueError
            When a tensor is missing, or is not what `to_tensors` gives.
        """
        positions = tensors[f"{prefix}.positions"]
        if positions.dtype != torch.int64 or positions.ndim != 1:
            raise ValueError(f"{prefix}.positions is no row of whole numbers")
        names = _parts(tensors[f"{prefix}.names"], tensors[f"{prefix}.name_ends"], len(positions))
        return cls(
            positions.numpy(),
            _parts(tensors[f"{prefix}.bytes"], tensors[f"{prefix}.ends"], len(positions)),
            [name.decode(errors="surrogateescape") for name in names],
        )


def make_thumbnails(dataset: ImageDataset, positions: NDArray[np.integer], side: int = SIDE) -> Thumbnails:
    """Shrink and encode some images of a data set.

    Parameters
    ----------
    dataset : ImageDataset
    positions : ndarray of int, shape (M,)
    side : int
        Of the longer side, in pixels.

    Raises
    ------
    DataError
        When a file is no readable image any more.
    """
    encoded, names = [], []
    for start in range(0, len(positions), AT_ONCE):
        some = np.asarray(positions[start : start + AT_ONCE])
        for position, pixels in zip(some, dataset.pixels(some, side), strict=True):
            encoded.append(encode(pixels, side))
            names.append("" if isinstance(dataset.images, np.ndarray) else str(dataset.images[position]))
    return Thumbnails(np.asarray(positions, np.int64), encoded, names)


def encode(pixels: NDArray[np.uint8], side: int = SIDE) -> bytes:
    """Return pixels (H, W) or (H, W, 3) as a PNG, or a JPEG where they have more than 32 pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def to_png(pixels: NDArray[np.uint8], *, optimize: bool = False) -> bytes:
    """Return pixels (H, W), (H, W, 3) or (H, W, 4) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()


def data_url(image: bytes) -> str:
    """Return a PNG or JPEG as a ``data:`` URL."""
    kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _parts(data: torch.Tensor, ends: torch.Tensor, count: int) -> list[bytes]:
    limits = [0, *ends.flatten().tolist()]
    if data.dtype != torch.uint8 or data.ndim != 1 or ends.dtype != torch.int64 or ends.shape != (count,):
        raise ValueError(f"its thumbnails are not {count} pieces of bytes")
    if limits != sorted(limits) or limits[-1] != len(data):
        raise ValueError("its thumbnails end elsewhere than it says")
    whole, begin, parts = data.numpy().tobytes(), 0, []
    for end in ends.tolist():
        parts.append(whole[begin:end])
        begin = end
    return parts


PER_CLASS = 12
SHEET_SIDE = 128  # pixels: more of an image cannot be seen on a sheet
MOST_CLASSES = 60  # rows of a sheet; more would take minutes to draw


def draw_sheet(dataset: ImageDataset, title: str, path: Path, seed: int = 0, per_class: int = PER_CLASS) -> None:
    """Write a PNG with one row per class: its name, how many images it has, and some of them drawn by seed.

    Of more than 60 classes the first are shown.

    Raises
    ------
    StorageError
        When the image cannot be written.
    """
    rows = []
    for label, name in enumerate(dataset.class_names[:MOST_CLASSES]):
        members = _members(dataset, label, seed)
        rows.append((f"{name}\n{len(members):,}", list(dataset.pixels(members[:per_class], SHEET_SIDE))))
    _draw(rows, per_class, title, path)


def draw_views(
    dataset: ImageDataset, views: Sequence[View], preprocess: Preprocess, title: str, path: Path, seed: int = 0
) -> None:
    """Write a PNG with one row per class: an image drawn by seed, preprocessed, in each of some views.

    Raises
    ------
    StorageError
        When the image cannot be written.
    """
    rows: list[tuple[str, Sequence[NDArray[Any]]]] = []
    for label, name in enumerate(dataset.class_names[:MOST_CLASSES]):
        chosen = _members(dataset, label, seed)[:1]
        row_ids = dataset.subset(chosen).row_ids
        images = []
        if len(chosen):
            resized = preprocess.resize(dataset.pixels(chosen, preprocess.image_size))  # (1, C, S, S)
            images = [view(resized, row_ids)[0] for view in views]
        rows.append((name, [np.moveaxis(image.numpy().round().astype(np.uint8), 0, -1) for image in images]))
    _draw(rows, len(views), title, path)


def _members(dataset: ImageDataset, label: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, label]).permutation(np.flatnonzero(dataset.labels == label))


def _draw(rows: Sequence[tuple[str, Sequence[NDArray[Any]]]], columns: int, title: str, path: Path) -> None:
    """Draw rows of (name, images), uint8, (H, W), (H, W, 1) or (H, W, 3)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.0 + 0.72 * columns, 0.72 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for (name, images), row in zip(rows, grid, strict=True):
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, images, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        row[0].text(-0.15, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=9, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue(), "choose another place with --output")
