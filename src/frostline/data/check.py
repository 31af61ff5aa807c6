"""Check a data set: published files, counts, value ranges, and images that are in several splits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.progress import log
from frostline.data import fashion_mnist
from frostline.data.dataset import BadImage, ImageDataset, Splits
from frostline.data.names import first_few

EXAMPLES = 3


@dataclass(frozen=True)
class Overlap:
    """Images that two splits share.

    Attributes
    ----------
    first, second : str
        Names of the splits.
    identical : int
        Images of the second with the same content as one of the first.
    look_alike : int or None
        Further images of the second that are similar to one of the same class in the first; ``None`` when unknown.
    examples : tuple of (str, str)
        Some identical images: the file, or the split and number, in the first and in the second.
    """

    first: str
    second: str
    identical: int
    look_alike: int | None
    examples: tuple[tuple[str, str], ...]

    @property
    def facts(self) -> dict[str, Any]:
        """For ``metrics.json``."""
        examples = [list(pair) for pair in self.examples]
        return {"identical": self.identical, "look_alike": self.look_alike, "examples": examples}


def overlaps(parts: Mapping[str, ImageDataset | None]) -> dict[str, Overlap]:
    """Compare all pairs of splits that have images, as ``train_val``, ``train_test`` and ``val_test``."""
    pairs = combinations(_with_images(parts).items(), 2)
    return {f"{first}_{second}": _overlap(first, a, second, b) for (first, a), (second, b) in pairs}


def _with_images(parts: Mapping[str, ImageDataset | None]) -> dict[str, ImageDataset]:
    return {name: part for name, part in parts.items() if part is not None and len(part)}


def warn_overlaps(found: Mapping[str, Overlap], source: str) -> None:
    """Log one warning when splits share images."""
    shared = [overlap for overlap in found.values() if overlap.identical or overlap.look_alike]
    if not shared:
        return
    counts = ", ".join(_describe(overlap) for overlap in shared)
    examples = [" = ".join(pair) for overlap in shared for pair in overlap.examples]
    some = f" (identical: {first_few(examples, EXAMPLES)})" if examples else ""
    log.warning("%s: splits share images, which makes results too optimistic: %s%s", source, counts, some)


def _describe(overlap: Overlap) -> str:
    similar = f" and {overlap.look_alike:,} are similar to one" if overlap.look_alike else ""
    return f"{overlap.identical:,} of {overlap.second} are also in {overlap.first}{similar}"


def _overlap(first: str, a: ImageDataset, second: str, b: ImageDataset) -> Overlap:
    position = {row_id: i for i, row_id in reversed(list(enumerate(a.row_ids)))}
    same = np.array([row_id in position for row_id in b.row_ids], bool)
    similar = None
    if a.groups is not None and b.groups is not None:
        similar = int((np.isin(b.groups, a.groups) & ~same).sum())
    examples = tuple(
        (_image_name(first, a, position[b.row_ids[j]]), _image_name(second, b, j))
        for j in np.flatnonzero(same)[:EXAMPLES].tolist()
    )
    return Overlap(first, second, int(same.sum()), similar, examples)


def _image_name(name: str, part: ImageDataset, number: int) -> str:
    if isinstance(part.images, np.ndarray):
        return f"{name} {number}"
    return BadImage(part.images[number], "").shown_path


@dataclass(frozen=True)
class CheckResult:
    """One line of a check; ``ok`` is ``None`` for a remark."""

    what: str
    found: str
    ok: bool | None


def check(splits: Splits) -> list[CheckResult]:
    """Check a loaded data set."""
    findings = _check_published_files(splits) if splits.name == fashion_mnist.NAME else []
    parts = _with_images({"train": splits.train, "val": splits.val, "test": splits.test})
    for name, part in parts.items():
        findings += _check_part(name, part)
    for shared in overlaps(parts).values():
        names = f"{shared.first} and {shared.second}"
        count = f"{shared.identical} identical"
        findings.append(CheckResult(f"images in both {names}", count, None if shared.identical else True))
        findings += [CheckResult(f"  {first}", f"is {second}", None) for first, second in shared.examples]
        if shared.look_alike is not None:
            count = f"{shared.look_alike} of {shared.second}"
            findings.append(CheckResult(f"similar images in {names}", count, None if shared.look_alike else True))
    if splits.bad:
        findings.append(CheckResult("images that cannot be read", f"{len(splits.bad):,}", False))
        findings += [CheckResult(image.shown_path, image.reason, None) for image in splits.bad]
    return findings


def _check_published_files(splits: Splits) -> list[CheckResult]:
    findings = []
    for role, path in (fashion_mnist.find(Path(splits.source)) or {}).items():
        same = fashion_mnist.content_matches(path, fashion_mnist.FILES[role])
        findings.append(CheckResult(path.name, "content as published" if same else "NOT the published content", same))
    sizes = (len(splits.train), len(splits.test))
    return [*findings, CheckResult("counts", f"{sizes[0]:,} train, {sizes[1]:,} test", sizes == (60_000, 10_000))]


def _check_part(name: str, part: ImageDataset) -> list[CheckResult]:
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    per_class = f"{counts.min():,} to {counts.max():,} images in each class"
    findings = [CheckResult(f"{name} labels", per_class, bool(counts.min() > 0))]
    if isinstance(part.images, np.ndarray):
        low, high = int(part.images.min()), int(part.images.max())
        flat = int((part.images.reshape(len(part), -1).std(1) == 0).sum())
        shape = " x ".join(map(str, part.images.shape[1:]))
        findings.append(CheckResult(f"{name} pixels", f"{shape}, values {low} to {high}", low < high))
        findings.append(CheckResult(f"{name} empty images", f"{flat} with a single value", True if not flat else None))
    repeated = sum(count - 1 for count in Counter(part.row_ids).values())
    findings.append(CheckResult(f"{name} repeated images", f"{repeated} identical", True if not repeated else None))
    return findings
