"""A sheet of example images from the drawing program."""

from pathlib import Path

import numpy as np

from frostline.data.dataset import ImageDataset
from frostline.data.drawn_objects import class_names, draw_uint8
from frostline.data.thumbnails import PER_CLASS, draw_sheet
from frostline.synthetic.scene import Program

CLASSES, SIZE = 10, 64


def draw_program(program: Program, path: Path) -> None:
    """Write a PNG with the first ten objects of a program, a row of images each.

    Raises
    ------
    StorageError
    """
    labels = np.arange(CLASSES * PER_CLASS) % CLASSES
    dataset = ImageDataset(draw_uint8(program, labels, SIZE), labels, class_names(CLASSES))
    draw_sheet(dataset, f"drawn images: the first {CLASSES} of {program.classes:,} objects, seed {program.seed}", path)
