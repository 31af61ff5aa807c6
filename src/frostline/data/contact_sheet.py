"""A labeled contact sheet: what a data set looks like, at a glance."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline._utils.storage import write_bytes
from frostline.data.augment import View
from frostline.data.dataset import ImageDataset
from frostline.data.preprocess import Preprocess

PER_CLASS = 12
SIDE = 128  # pixels: more of an image cannot be seen on a sheet
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
        rows.append((f"{name}\n{len(members):,}", list(dataset.pixels(members[:per_class], SIDE))))
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
