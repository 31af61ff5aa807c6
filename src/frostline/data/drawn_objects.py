"""The synthetic data set `drawn-objects`, and the images that the ridge head's covariance prior is computed from."""

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
FIRST_CLASS = 1_000_000  # pre-training uses objects below this number only
BATCH = 500
PRIOR_OBJECTS, PRIOR_IMAGES = 50, 20  # bench/prior.py


def load(progress: Progress | None = None) -> Splits:
    """Draw the data set: 3,000 training and 1,000 test images, 64 x 64 RGB, of twenty made-up objects."""
    total = CLASSES * (TRAIN_PER_CLASS + TEST_PER_CLASS)
    with (progress or Silent()).bar(f"drawing {DRAWN_OBJECTS}", total, "images") as bar:
        train, test = (
            _draw_set(Program(seed * 1000, CLASSES, first_class=FIRST_CLASS, clutter=0.0), per_class, bar)
            for seed, per_class in ((1, TRAIN_PER_CLASS), (2, TEST_PER_CLASS))
        )
    return Splits(DRAWN_OBJECTS, train, test, f"frostline.synthetic, version {VERSION}")


@cache
def load_prior(objects: int = PRIOR_OBJECTS, images: int = PRIOR_IMAGES) -> ImageDataset:
    """Draw ``images`` of each of some objects that are in no data set and not in pre-training: 64 x 64 RGB."""
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
    """Return a name for each object."""
    return tuple(f"object-{number:02d}" for number in range(count))


def draw_uint8(program: Program, objects: np.ndarray, size: int, first: int = 0) -> np.ndarray:
    """Draw images of some objects, uint8 (n, size, size, 3), numbered from ``first``."""
    index = torch.arange(first, first + len(objects))
    labels = Labels(torch.from_numpy(objects), draw_labels(program, index).textures)
    images = draw_images(program, index, size, labels)
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
