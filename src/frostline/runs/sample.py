"""Sample: validation images of a run, to check an export of its model where the data set is not at hand.

runs/NAME/sample.safetensors, about 16 MB at most
  pixels  uint8, the pixels of one image after the other, rows first
  shapes  int64 (M, 3), height, width and channels (1 or 3) of each image
  labels  int64 (M,)
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, parse_tensors
from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.target import WHOLE, Target
from frostline.data.splits import evenly
from frostline.runs.folder import Run

IMAGES = 512
PIXEL_BYTES = 16_000_000
BATCH = 16  # images decoded together
SEED = 0  # any: the choice depends on the labels alone

Pixels = NDArray[np.uint8]  # (H, W) gray or (H, W, 3) RGB


@dataclass(frozen=True, eq=False)
class Sample:
    """Images and their labels.

    Attributes
    ----------
    images : sequence of ndarray of uint8
        (H, W) gray or (H, W, 3) RGB, each of its own size.
    labels : ndarray of int64, shape (M,)
    """

    images: Sequence[Pixels]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def pixels(self, indices: NDArray[np.integer]) -> list[Pixels]:
        """Return the images at ``indices``."""
        return [self.images[index] for index in indices]


def write_sample(path: Path, val: ImageDataset, target: Target) -> None:
    """Write up to 512 images, as evenly from the classes as possible and as many as fit; at least one.

    Images are kept whole and halved as for the network's input, ``target``.
    """
    order = evenly(val.labels, np.random.default_rng(SEED))[:IMAGES]
    images: list[Pixels] = []
    room = PIXEL_BYTES
    for image in _halved(val, order, target._replace(fit=WHOLE)):
        room -= image.size
        if room < 0 and images:
            break
        images.append(image)
    tensors = {
        "pixels": torch.from_numpy(np.concatenate([image.ravel() for image in images])),
        "shapes": torch.tensor([(*image.shape, 1)[:3] for image in images]),
        "labels": torch.from_numpy(val.labels[order[: len(images)]]),
    }
    write_bytes(path, save(tensors), OTHER_OUTPUT_DIR)


def _halved(val: ImageDataset, order: NDArray[np.int64], target: Target) -> Iterator[Pixels]:
    for start in range(0, len(order), BATCH):
        batch = val.pixels(order[start : start + BATCH], target)
        yield from target.apply_to_all(batch) if isinstance(batch, np.ndarray) else batch


def read_sample(run: Run) -> Sample:
    """Read the sample of a run.

    Raises RunError when it is missing, damaged, or not as the run wrote it.
    """
    return run.parse(run.sample.name, _sample, MAX_TENSOR_FILE_BYTES)


def _sample(data: bytes) -> Sample:
    tensors = parse_tensors(data)
    pixels, shapes, labels = (tensors[name] for name in ("pixels", "shapes", "labels"))
    if pixels.dtype != torch.uint8 or pixels.ndim != 1:
        raise ValueError("pixels is not a row of bytes")
    if labels.dtype != torch.int64 or labels.ndim != 1 or not len(labels) or labels.min() < 0:
        raise ValueError("labels is not a row of class numbers")
    if shapes.dtype != torch.int64 or shapes.shape != (len(labels), 3):
        raise ValueError("shapes is not three integers per image")
    sizes = shapes.tolist()
    if any(height < 1 or width < 1 or channels not in (1, 3) for height, width, channels in sizes):
        raise ValueError("shapes has impossible sizes")
    ends = [0, *accumulate(map(math.prod, sizes))]
    if ends[-1] != len(pixels):
        raise ValueError("shapes does not agree with pixels")
    parts = (pixels.numpy()[begin:end] for begin, end in pairwise(ends))
    images = [part.reshape(size[:2] if size[2] == 1 else size) for part, size in zip(parts, sizes, strict=True)]
    return Sample(images, labels.numpy())
