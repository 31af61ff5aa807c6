"""`drawn-objects`: a small data set that needs no file, drawn whenever it is asked for."""

import numpy as np
import torch

from frostline.images.dataset import ImageDataset, Splits
from frostline.images.drawn import NAME
from frostline.images.drawn.scene import VERSION, Labels, Program, draw_labels, draw_pictures
from frostline.progress import Progress, Silent

SIZE = 64
CLASSES = 20
TRAIN_PER_CLASS, TEST_PER_CLASS = 150, 50
FIRST_CLASS = 1_000_000  # pre-training draws objects below this number: these are new to it
BATCH = 500


def load(progress: Progress | None = None) -> Splits:
    """Draw the data set: 3,000 training and 1,000 test pictures, 64 x 64 RGB, of twenty made-up objects.

    Parameters
    ----------
    progress : Progress, optional
        Draws the bar.
    """
    with (progress or Silent()).bar(f"drawing {NAME}", CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS), "images") as bar:
        parts = []
        for seed, per_class in ((1, TRAIN_PER_CLASS), (2, TEST_PER_CLASS)):
            program = Program(seed=seed * 1000, classes=CLASSES, first_class=FIRST_CLASS, clutter=0.0)
            pictures, labels = [], np.arange(CLASSES * per_class) % CLASSES
            for start in range(0, len(labels), BATCH):
                pictures.append(draw_uint8(program, labels[start : start + BATCH], SIZE, start))
                bar.advance(len(pictures[-1]))
            parts.append(ImageDataset(np.concatenate(pictures), labels, class_names(CLASSES)))
    return Splits(NAME, parts[0], parts[1], f"frostline.images.drawn, version {VERSION}")


def class_names(count: int) -> tuple[str, ...]:
    """Return a name for each object: they have no names in any language."""
    return tuple(f"object-{number:02d}" for number in range(count))


def draw_uint8(program: Program, objects: np.ndarray, size: int, first: int = 0) -> np.ndarray:
    """Draw pictures of chosen objects: uint8 (n, size, size, 3); ``first`` is the number of the first picture."""
    index = torch.arange(first, first + len(objects))
    labels = Labels(torch.from_numpy(objects), draw_labels(program, index).textures)
    pictures = draw_pictures(program, index, size, labels)
    return (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
