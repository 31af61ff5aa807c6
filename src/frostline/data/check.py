"""Is a data set what it claims to be: files, counts, ranges, and images that stand in both train and test."""

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
    """What two splits have in common.

    Attributes
    ----------
    first, second : str
        Their names.
    identical : int
        Images of the second with the same content as one of the first.
    look_alike : int or None
        Further images of the second that look like one of the same class in the first; ``None`` where unknown.
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
    """Compare every two splits that have images.

    Returns
    -------
    dict
        By ``train_val``, ``train_test`` and ``val_test``.
    """
    given = {name: part for name, part in parts.items() if part is not None and len(part)}
    return {
        f"{first}_{second}": _overlap(first, given[first], second, given[second])
        for first, second in combinations(given, 2)
    }


def warn_of(found: Mapping[str, Overlap], source: str) -> None:
    """Log one warning when splits share images."""
    shared = [overlap for overlap in found.values() if overlap.identical or overlap.look_alike]
    if not shared:
        return
    counts = ", ".join(_counted(overlap) for overlap in shared)
    examples = [" = ".join(pair) for overlap in shared for pair in overlap.examples]
    some = f" (identical: {first_few(examples, EXAMPLES)})" if examples else ""
    log.warning("%s: splits share images, which makes results look better than they are: %s%s", source, counts, some)


def _counted(overlap: Overlap) -> str:
    alike = f" and {overlap.look_alike:,} look like one" if overlap.look_alike else ""
    return f"{overlap.identical:,} of {overlap.second} are also in {overlap.first}{alike}"


def _overlap(first: str, one: ImageDataset, second: str, other: ImageDataset) -> Overlap:
    place = {row_id: i for i, row_id in reversed(list(enumerate(one.row_ids)))}
    same = np.array([row_id in place for row_id in other.row_ids], bool)
    some = [(place[other.row_ids[i]], int(i)) for i in np.flatnonzero(same)[:EXAMPLES]]
    alike = None
    if one.groups is not None and other.groups is not None:
        alike = int((np.isin(other.groups, one.groups) & ~same).sum())
    examples = tuple((_where(first, one, i), _where(second, other, j)) for i, j in some)
    return Overlap(first, second, int(same.sum()), alike, examples)


def _where(name: str, part: ImageDataset, number: int) -> str:
    if isinstance(part.images, np.ndarray):
        return f"{name} {number}"
    return BadImage(part.images[number], "").shown_path


@dataclass(frozen=True)
class CheckResult:
    """One line of a check; ``ok`` is ``None`` for a remark that is no fault."""

    what: str
    found: str
    ok: bool | None


def check(splits: Splits) -> list[CheckResult]:
    """Check a loaded data set; see the module's first line for what is looked at."""
    findings = _published_files(splits) if splits.name == fashion_mnist.NAME else []
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    given = {name: part for name, part in parts.items() if part is not None and len(part)}
    for name, part in given.items():
        findings += _part(name, part)
    for shared in overlaps(given).values():
        both = f"both {shared.first} and {shared.second}"
        findings.append(
            CheckResult(f"images in {both}", f"{shared.identical} identical", None if shared.identical else True)
        )
        findings += [CheckResult(f"  {one}", f"is {other}", None) for one, other in shared.examples]
        if shared.look_alike is not None:
            what = f"images that look alike in {shared.first} and {shared.second}"
            found = f"{shared.look_alike} of {shared.second}"
            findings.append(CheckResult(what, found, None if shared.look_alike else True))
    if splits.bad:
        findings.append(CheckResult("images that cannot be read", f"{len(splits.bad):,}", False))
        findings += [CheckResult(image.shown_path, image.reason, None) for image in splits.bad]
    return findings


def _published_files(splits: Splits) -> list[CheckResult]:
    folder = Path(splits.source)
    paths = fashion_mnist.find(folder) or {}
    findings = []
    for role, path in paths.items():
        same = fashion_mnist.content_matches(path, fashion_mnist.FILES[role])
        findings.append(CheckResult(path.name, "content as published" if same else "NOT the published content", same))
    sizes = (len(splits.train), len(splits.test))
    return [*findings, CheckResult("counts", f"{sizes[0]:,} train, {sizes[1]:,} test", sizes == (60_000, 10_000))]


def _part(name: str, part: ImageDataset) -> list[CheckResult]:
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    findings = [
        CheckResult(
            f"{name} labels", f"{counts.min():,} to {counts.max():,} images in each class", bool(counts.min() > 0)
        )
    ]
    if isinstance(part.images, np.ndarray):
        low, high = int(part.images.min()), int(part.images.max())
        flat = int((part.images.reshape(len(part), -1).std(1) == 0).sum())
        shape = " x ".join(map(str, part.images.shape[1:]))
        findings.append(CheckResult(f"{name} pixels", f"{shape}, values {low} to {high}", low < high))
        findings.append(CheckResult(f"{name} empty images", f"{flat} of one single value", True if not flat else None))
    repeated = sum(count - 1 for count in Counter(part.row_ids).values())
    findings.append(CheckResult(f"{name} repeated images", f"{repeated} identical", True if not repeated else None))
    return findings
