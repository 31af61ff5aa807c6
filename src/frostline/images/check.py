"""Is a data set what it claims to be: files, counts, ranges, and pictures that stand in both train and test."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from frostline.images import fashion_mnist
from frostline.images.dataset import ImageDataset, Splits


@dataclass(frozen=True)
class Finding:
    """One line of a check; ``ok`` is ``None`` for a remark that is no fault."""

    what: str
    found: str
    ok: bool | None


def check(splits: Splits) -> list[Finding]:
    """Check a loaded data set; see the module's first line for what is looked at."""
    findings = _published_files(splits) if splits.name == fashion_mnist.NAME else []
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    given = {name: part for name, part in parts.items() if part is not None}
    for name, part in given.items():
        findings += _part(name, part)
    for one, other in combinations(given, 2):
        shared = set(given[one].row_ids) & set(given[other].row_ids)
        identical = f"{len(shared)} identical"
        findings.append(Finding(f"pictures in both {one} and {other}", identical, True if not shared else None))
        alike = _alike(given[one], given[other])
        if alike is not None:
            what = f"pictures that look alike in {one} and {other}"
            findings.append(Finding(what, f"{alike} of {other}", True if not alike else None))
    if splits.bad:
        findings.append(Finding("pictures that cannot be read", f"{len(splits.bad):,}", False))
        findings += [Finding(image.shown_path, image.reason, None) for image in splits.bad]
    return findings


def _alike(one: ImageDataset, other: ImageDataset) -> int | None:
    """Return how many pictures of the other part look like one of the first; none where that is not known."""
    if one.groups is None or other.groups is None:
        return None
    return int(np.isin(other.groups, one.groups).sum())


def _published_files(splits: Splits) -> list[Finding]:
    folder = Path(splits.source)
    paths = fashion_mnist.find(folder) or {}
    findings = []
    for role, path in paths.items():
        same = fashion_mnist.content_matches(path, fashion_mnist.FILES[role])
        findings.append(Finding(path.name, "content as published" if same else "NOT the published content", same))
    sizes = (len(splits.train), len(splits.test))
    return [*findings, Finding("counts", f"{sizes[0]:,} train, {sizes[1]:,} test", sizes == (60_000, 10_000))]


def _part(name: str, part: ImageDataset) -> list[Finding]:
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    findings = [
        Finding(f"{name} labels", f"{counts.min():,} to {counts.max():,} images in each class", bool(counts.min() > 0))
    ]
    if isinstance(part.images, np.ndarray):
        low, high = int(part.images.min()), int(part.images.max())
        flat = int((part.images.reshape(len(part), -1).std(1) == 0).sum())
        shape = " x ".join(map(str, part.images.shape[1:]))
        findings.append(Finding(f"{name} pixels", f"{shape}, values {low} to {high}", low < high))
        findings.append(Finding(f"{name} empty pictures", f"{flat} of one single value", True if not flat else None))
    repeated = sum(count - 1 for count in Counter(part.row_ids).values())
    findings.append(Finding(f"{name} repeated pictures", f"{repeated} identical", True if not repeated else None))
    return findings
