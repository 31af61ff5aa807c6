"""Images that need no file: `drawn-objects`, a small data set, and what shows how images of one object differ."""

from functools import cache

import numpy as np
import torch

from frostline._utils.progress import Bar, Progress, Silent
from frostline.data.dataset import ImageDataset, Splits
from frostline.synthetic import DRAWN_OBJECTS
from frostline.synthetic.scene import VERSION, Labels, Program, draw_images, draw_labels

SIZE = 64
CLASSES = 20
TRAIN_PER_CLASS, TEST_PER_CLASS = 150, 50
FIRST_CLASS = 1_000_000  # pre-training draws objects below this number: these are new to it
BATCH = 500
PRIOR_OBJECTS, PRIOR_IMAGES = 50, 20  # bench/prior.py


def load(progress: Progress | None = None) -> Splits:
    """Draw the data set: 3,000 training and 1,000 test images, 64 x 64 RGB, of twenty made-up objects.

    Parameters
    ----------
    progress : Progress, optional
        Draws the bar.
    """
    with (progress or Silent()).bar(
        f"drawing {DRAWN_OBJECTS}", CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS), "images"
    ) as bar:
        train, test = (
            _draw_set(Program(seed * 1000, CLASSES, first_class=FIRST_CLASS, clutter=0.0), per_class, bar)
            for seed, per_class in ((1, TRAIN_PER_CLASS), (2, TEST_PER_CLASS))
        )
    return Splits(DRAWN_OBJECTS, train, test, f"frostline.synthetic, version {VERSION}")


@cache
def load_prior(objects: int = PRIOR_OBJECTS, images: int = PRIOR_IMAGES) -> ImageDataset:
    """Draw images of objects that no data set and no pre-training has, labeled by the object: 64 x 64 RGB.

    Parameters
    ----------
    objects, images : int
        How many, and how many images of each.
    """
    return _draw_set(Program(3000, objects, first_class=FIRST_CLASS + CLASSES, clutter=0.0), images)


def _draw_set(program: Program, per_class: int, bar: Bar | None = None) -> ImageDataset:
    labels = np.arange(program.classes * per_class) % program.classes
    images = []
    for start in range(0, len(labels), BATCH):
        images.append(draw_uint8(program, labels[start : start + BATCH], SIZE, start))
        if bar:
            bar.advance(len(images[-1]))
    return ImageDataset(np.concatenate(images), labels, class_names(program.classes))


def class_names(count: int) -> tuple[str, ...]:
    """Return a name for each object: they have no names in any language."""
    return tuple(f"object-{number:02d}" for number in range(count))


def draw_uint8(program: Program, objects: np.ndarray, size: int, first: int = 0) -> np.ndarray:
    """Draw images of chosen objects: uint8 (n, size, size, 3); ``first`` is the number of the first image."""
    index = torch.arange(first, first + len(objects))
    labels = Labels(torch.from_numpy(objects), draw_labels(program, index).textures)
    images = draw_images(program, index, size, labels)
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
