"""What the drawing program draws, at a glance."""

from pathlib import Path

import numpy as np

from frostline.images.dataset import ImageDataset
from frostline.images.drawn.dataset import class_names, draw_uint8
from frostline.images.drawn.scene import Program
from frostline.images.sheet import PER_CLASS, draw_sheet

CLASSES, SIZE = 10, 64


def draw_program(program: Program, path: Path) -> None:
    """Write a PNG with the first ten objects of a program, a row of pictures each.

    Raises
    ------
    StorageError
    """
    labels = np.arange(CLASSES * PER_CLASS) % CLASSES
    dataset = ImageDataset(draw_uint8(program, labels, SIZE), labels, class_names(CLASSES))
    draw_sheet(
        dataset, f"drawn pictures: the first {CLASSES} of {program.classes:,} objects, seed {program.seed}", path
    )
