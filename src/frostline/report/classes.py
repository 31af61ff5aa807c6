"""The classes of a report: results, numbers of images and sample images of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frostline.data.encoding import data_url
from frostline.runs.embedding_index import Index

MOST_SAMPLES = 300  # images of all classes together
PER_CLASS = 5
HARDEST = 40  # classes; the others are folded


@dataclass(frozen=True)
class ClassLine:
    """A class, its numbers of images by split, URLs of training images, and whether it has test images."""

    name: str
    images: Mapping[str, int]
    f1: float
    tested: bool
    samples: list[str]


def describe_classes(
    per_class: Mapping[str, Any], images: Mapping[str, Mapping[str, int]], index: Index | None
) -> list[ClassLine]:
    """Return all classes, the smallest F1 first and those without test images last.

    Parameters
    ----------
    per_class : mapping
        As in ``metrics.json``.
    images : mapping
        Images by split and class; empty for runs of earlier versions.
    index : Index, optional
        Has the sample images.
    """
    names = list(per_class)
    order = sorted(
        range(len(names)),
        key=lambda i: (not per_class[names[i]]["support"], per_class[names[i]]["f1"], names[i]),
    )
    limit = min(PER_CLASS, max(1, MOST_SAMPLES // len(names)))
    lines = []
    for place, number in enumerate(order):
        about = per_class[names[number]]
        counts = {split: numbers[names[number]] for split, numbers in images.items()} or {"test": about["support"]}
        samples = _samples(index, number, limit) if index is not None and place < MOST_SAMPLES else []
        lines.append(ClassLine(names[number], counts, about["f1"], about["support"] > 0, samples))
    return lines


def _samples(index: Index, number: int, limit: int) -> list[str]:
    members = np.flatnonzero(index.train_labels == number)[:limit]
    return [data_url(index.images.encoded[member]) for member in members]
