"""Encoded thumbnails, which a run stores for its pages, and contact sheets."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from frostline._utils.storage import write_bytes
from frostline.data.augment import View
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.target import WHOLE, Target
from frostline.data.encoding import SIDE, encode
from frostline.data.preprocess import Preprocess

BATCH = 64  # images decoded together


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Encoded images, by their positions in a split.

    Attributes
    ----------
    positions : ndarray of int64, shape (M,)
    encoded : sequence of bytes
        PNG (up to 32 pixels) or JPEG.
    names : sequence of str
        Paths of the files; empty strings for images in memory.
    """

    positions: NDArray[np.int64]
    encoded: Sequence[bytes]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.encoded)

    def at(self, position: int) -> bytes | None:
        """Return the image at a position of the split; ``None`` when it has no thumbnail."""
        found = np.flatnonzero(self.positions == position)
        return self.encoded[found[0]] if len(found) else None

    def to_tensors(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return tensors: positions, the concatenated bytes of images and names, and the end of each."""
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
        """Restore from `to_tensors`; raise ``KeyError`` or ``ValueError`` for missing or invalid tensors."""
        positions = tensors[f"{prefix}.positions"]
        if positions.dtype != torch.int64 or positions.ndim != 1:
            raise ValueError(f"{prefix}.positions is not a vector of integers")
        names = _parts(tensors[f"{prefix}.names"], tensors[f"{prefix}.name_ends"], len(positions))
        return cls(
            positions.numpy(),
            _parts(tensors[f"{prefix}.bytes"], tensors[f"{prefix}.ends"], len(positions)),
            [name.decode(errors="surrogateescape") for name in names],
        )


def make_thumbnails(
    dataset: ImageDataset, positions: NDArray[np.integer], fit: str = "pad", side: int = SIDE
) -> Thumbnails:
    """Shrink the images at some positions to ``side`` pixels on the longer side, and encode them.

    Files are made square as for a network, with ``fit``, or kept `WHOLE`; see
    `frostline.data.decoding.target.Target`.

    Raises
    ------
    DataError
        When a file is no longer a readable image.
    """
    kept = dataset.decoded.target if dataset.decoded is not None else None
    at_hand = kept is not None and (kept.fit == fit or (kept.fit, fit) == ("pad", WHOLE))  # what the scan has decoded
    target = kept._replace(fit=fit) if kept is not None and at_hand else Target(side, fit)
    encoded, names = [], []
    for start in range(0, len(positions), BATCH):
        batch = np.asarray(positions[start : start + BATCH])
        for position, pixels in zip(batch, dataset.pixels(batch, target), strict=True):
            encoded.append(encode(pixels, side))
            names.append("" if isinstance(dataset.images, np.ndarray) else str(dataset.images[position]))
    return Thumbnails(np.asarray(positions, np.int64), encoded, names)


def _bytes(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def _parts(data: torch.Tensor, ends: torch.Tensor, count: int) -> list[bytes]:
    limits = [0, *ends.flatten().tolist()]
    if data.dtype != torch.uint8 or data.ndim != 1 or ends.dtype != torch.int64 or ends.shape != (count,):
        raise ValueError(f"thumbnails: expected {count} byte strings")
    if limits != sorted(limits) or limits[-1] != len(data):
        raise ValueError("thumbnails: invalid ends of the byte strings")
    joined = data.numpy().tobytes()
    return [joined[begin:end] for begin, end in pairwise(limits)]


PER_CLASS = 12
SHEET_SIDE = 128  # pixels; more would not be visible on a sheet
GAP = 8  # pixels between images
MAX_CLASSES = 60  # rows of a sheet; more would take minutes to draw


def draw_sheet(dataset: ImageDataset, title: str, path: Path, seed: int = 0, per_class: int = PER_CLASS) -> None:
    """Write a PNG with one row per class (the first 60): its name, its number of images, and a random sample of them.

    Raises
    ------
    StorageError
        When the image cannot be written.
    """
    rows = []
    for label, name in enumerate(dataset.class_names[:MAX_CLASSES]):
        members = _members(dataset, label, seed)
        rows.append((f"{name}\n{len(members):,}", list(dataset.pixels(members[:per_class], Target(SHEET_SIDE, "pad")))))
    _draw(rows, per_class, title, path)


def draw_views(
    dataset: ImageDataset, views: Sequence[View], preprocess: Preprocess, title: str, path: Path, seed: int = 0
) -> None:
    """Write a PNG with one row per class (the first 60): a random image, preprocessed, in each view.

    Raises
    ------
    StorageError
        When the image cannot be written.
    """
    rows: list[tuple[str, Sequence[NDArray[Any]]]] = []
    for label, name in enumerate(dataset.class_names[:MAX_CLASSES]):
        chosen = _members(dataset, label, seed)[:1]
        row_ids = dataset.subset(chosen).row_ids
        images = []
        if len(chosen):
            resized = preprocess.resize(dataset.pixels(chosen, preprocess.target))  # (1, C, S, S)
            images = [view(resized, row_ids)[0] for view in views]
        rows.append((name, [np.moveaxis(image.numpy().round().astype(np.uint8), 0, -1) for image in images]))
    _draw(rows, len(views), title, path)


def _members(dataset: ImageDataset, label: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, label]).permutation(np.flatnonzero(dataset.labels == label))


def _draw(rows: Sequence[tuple[str, Sequence[NDArray[Any]]]], columns: int, title: str, path: Path) -> None:
    """Draw rows of (name, images), uint8, (H, W), (H, W, 1) or (H, W, 3), in one axes: hundreds are slow."""
    from matplotlib.figure import Figure

    cell = SHEET_SIDE + GAP
    sheet = Image.new("RGB", (columns * cell, len(rows) * cell), "white")
    for row, (_, images) in enumerate(rows):
        for column, image in enumerate(images):
            shown = ImageOps.contain(
                Image.fromarray(image[..., 0] if image.shape[2:] == (1,) else image).convert("RGB"),
                (SHEET_SIDE, SHEET_SIDE),
                Image.Resampling.BOX,
            )
            beside, above = (cell - shown.width) // 2, (cell - shown.height) // 2
            sheet.paste(shown, (column * cell + beside, row * cell + above))
    figure = Figure(figsize=(2.0 + 0.72 * columns, 0.72 * len(rows) + 0.6), layout="constrained")
    figure.suptitle(title, parse_math=False)
    axes = figure.subplots()
    axes.set_axis_off()
    axes.imshow(np.asarray(sheet))
    for row, (name, _) in enumerate(rows):
        axes.text(-0.15 * cell, (row + 0.5) * cell, name, ha="right", va="center", fontsize=9, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue(), "choose another path with --output")
