"""Is a data set what it claims to be: files, counts, ranges, and images that stand in both train and test."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frostline.data import fashion_mnist
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.overlap import overlaps


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
