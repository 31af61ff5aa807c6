"""Images that stand in two splits: what was learned by heart then counts as accuracy."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from frostline._utils.progress import log
from frostline.data.class_names import first_few
from frostline.data.dataset import BadImage, ImageDataset

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
