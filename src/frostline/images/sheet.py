"""A labelled contact sheet: what a data set looks like, at a glance."""

import io
from pathlib import Path

import numpy as np

from frostline.images.dataset import ImageDataset
from frostline.storage import write_bytes

PER_CLASS = 12


def draw_sheet(dataset: ImageDataset, title: str, path: Path, seed: int = 0, per_class: int = PER_CLASS) -> None:
    """Write a PNG with one row per class: its name, how many images it has, and some of them drawn by seed.

    Raises
    ------
    StorageError
        When the picture cannot be written.
    """
    from matplotlib.figure import Figure

    classes = len(dataset.class_names)
    figure = Figure(figsize=(2.0 + 0.72 * per_class, 0.72 * classes + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(classes, per_class, squeeze=False)
    for label, (name, row) in enumerate(zip(dataset.class_names, grid, strict=True)):
        members = np.flatnonzero(dataset.labels == label)
        chosen = np.random.default_rng([seed, label]).permutation(members)[:per_class]
        for axes in row:
            axes.set_axis_off()
        for axes, image in zip(row, dataset.pixels(chosen), strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        row[0].text(
            -0.15, 0.5, f"{name}\n{len(members):,}", transform=row[0].transAxes, ha="right", va="center", fontsize=9
        )  # fmt: skip
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_bytes(path, buffer.getvalue(), "choose another place with --output")
