"""Check a data set: published files, counts, value ranges, and images that are in several splits."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from frostline._utils.progress import log
from frostline.data import fashion_mnist
from frostline.data.dataset import BadImage, ImageDataset, Splits
from frostline.data.names import first_few
from frostline.data.splits import train_val
from frostline.errors import ConfigError

EXAMPLES = 3
IMBALANCE = 10  # ratio of the largest to the smallest class that is worth a line


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
        (image_name(first, a, position[b.row_ids[j]]), image_name(second, b, j))
        for j in np.flatnonzero(same)[:EXAMPLES].tolist()
    )
    return Overlap(first, second, int(same.sum()), similar, examples)


def image_name(name: str, part: ImageDataset, number: int) -> str:
    """Return the path of an image file, or split and number of an image in memory."""
    if isinstance(part.images, np.ndarray):
        return f"{name} {number}"
    return BadImage(part.images[number], "").shown_path


def blank_images(splits: Splits) -> list[str]:
    """Return the names of the images of a single color."""
    found = [BadImage(path, "").shown_path for path in splits.blank]
    for name, part in _parts(splits).items():
        if isinstance(part.images, np.ndarray):
            flat = part.images.reshape(len(part), -1)
            found += [image_name(name, part, i) for i in np.flatnonzero((flat == flat[:, :1]).all(1)).tolist()]
    return found


def _parts(splits: Splits) -> dict[str, ImageDataset]:
    return _with_images({"train": splits.train, "val": splits.val, "test": splits.test})


@dataclass(frozen=True)
class CheckFinding:
    """One line of a check.

    Attributes
    ----------
    what, found : str
        What was checked, and the result.
    level : str
        ``ok``; ``note``: a training leaves it out or warns; ``problem``: a training refuses it, or it is not the
        published data set.
    advice : str
        What to do about it.
    """

    what: str
    found: str
    level: Literal["ok", "note", "problem"] = "ok"
    advice: str = ""


def check(splits: Splits, val_fraction: float = 0.1) -> list[CheckFinding]:
    """Check a loaded data set; ``val_fraction`` is the share that a training draws as its validation split."""
    findings = _check_published_files(splits) if splits.name == fashion_mnist.NAME else []
    parts = _parts(splits)
    for name, part in parts.items():
        findings += _check_part(name, part)
    if splits.val is None:
        findings.append(_check_validation(splits.train, val_fraction))
    for shared in overlaps(parts).values():
        findings += _check_overlap(shared)
    blank = blank_images(splits)
    if blank:
        advice = f"replace or remove them: {first_few(blank, EXAMPLES)}"
        findings.append(CheckFinding("images of a single color", f"{len(blank):,}", "note", advice))
    if splits.bad:
        advice = "repair or remove them; train leaves them out, --strict refuses them"
        findings.append(CheckFinding("images that cannot be read", f"{len(splits.bad):,}", "note", advice))
        findings += [CheckFinding(image.shown_path, image.reason, "note") for image in splits.bad]
    return findings


def _check_validation(train: ImageDataset, fraction: float) -> CheckFinding:
    try:
        drawn = len(train_val(train.labels, fraction, 0, train.groups)[1])
    except ConfigError as error:
        return CheckFinding("validation split", "cannot be drawn from train", "problem", str(error))
    if not drawn:
        return CheckFinding("validation split", "no image to draw from train", "problem", "add images to each class")
    return CheckFinding("validation split", f"{drawn:,} images to draw from train")


def _check_published_files(splits: Splits) -> list[CheckFinding]:
    advice = "download its files again"
    findings = []
    for role, path in (fashion_mnist.find(Path(splits.source)) or {}).items():
        same = fashion_mnist.content_matches(path, fashion_mnist.FILES[role])
        findings.append(
            CheckFinding(path.name, "content as published") if same else
            CheckFinding(path.name, "NOT the published content", "problem", advice)
        )  # fmt: skip
    sizes = (len(splits.train), len(splits.test))
    found = f"{sizes[0]:,} train, {sizes[1]:,} test"
    right = sizes == (60_000, 10_000)
    return [*findings, CheckFinding("counts", found) if right else CheckFinding("counts", found, "problem", advice)]


def _check_part(name: str, part: ImageDataset) -> list[CheckFinding]:
    counts = np.bincount(part.labels, minlength=len(part.class_names))
    per_class = f"{counts.min():,} to {counts.max():,} images in each class"
    missing = [part.class_names[i] for i in np.flatnonzero(counts == 0)]
    lost = f"add images of {first_few(missing)}: {name} has none" if missing else ""
    findings = [CheckFinding(f"{name} labels", per_class, "note" if missing else "ok", lost)]
    if name == "train" and counts.max() > IMBALANCE * counts[counts > 0].min():
        advice = "add images to the smallest classes, or train with --class-weights balanced"
        found = f"the largest class has {counts.max() / counts[counts > 0].min():.0f} times the images of the smallest"
        findings.append(CheckFinding("balance of the classes", found, "note", advice))
    if isinstance(part.images, np.ndarray):
        low, high = int(part.images.min()), int(part.images.max())
        shape = " x ".join(map(str, part.images.shape[1:]))
        dark = "" if low < high else "all pixels are the same: read the images again"
        findings.append(
            CheckFinding(f"{name} pixels", f"{shape}, values {low} to {high}", "note" if dark else "ok", dark)
        )
    repeated = sum(count - 1 for count in Counter(part.row_ids).values())
    advice = "remove the copies: each counts as another image" if repeated else ""
    findings.append(
        CheckFinding(f"{name} repeated images", f"{repeated} identical", "note" if repeated else "ok", advice)
    )
    return findings


def _check_overlap(shared: Overlap) -> list[CheckFinding]:
    names = f"{shared.first} and {shared.second}"
    advice = f"remove them from one of the two: the results on {shared.second} are too optimistic"
    same = shared.identical > 0
    count = f"{shared.identical} identical"
    findings = [CheckFinding(f"images in both {names}", count, "note" if same else "ok", advice if same else "")]
    findings += [CheckFinding(f"  {first}", f"is {second}", "note") for first, second in shared.examples]
    if shared.look_alike is not None:
        count, alike = f"{shared.look_alike} of {shared.second}", shared.look_alike > 0
        advice = f"look whether they show the same thing: the results on {shared.second} may be too optimistic"
        findings.append(
            CheckFinding(f"similar images in {names}", count, "note" if alike else "ok", advice if alike else "")
        )
    return findings
