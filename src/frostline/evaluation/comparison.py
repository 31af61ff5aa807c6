"""Whether two classifiers that answered the same images differ by more than chance: paired tests.

Only images on which one is right and the other wrong tell the two apart; everything here is computed from their counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """Two classifiers on the same images.

    Attributes
    ----------
    images : int
    only_first, only_second : int
        Images that one alone has right.
    low, high : float
        95 % interval of ``difference``, of this pair alone.
    p_value : float
        Of McNemar's test.
    p_adjusted : float
        The same, by Holm's method, where several tests were asked at once.
    """

    images: int
    only_first: int
    only_second: int
    low: float
    high: float
    p_value: float
    p_adjusted: float

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first."""
        return (self.only_second - self.only_first) / self.images

    @property
    def beyond_chance(self) -> bool:
        """Whether the test, corrected, and the interval both exclude that the two are equally accurate."""
        return self.p_adjusted < LEVEL and not self.low <= 0 <= self.high


def compare_pairs(
    pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]], seed: int = 0, draws: int = DRAWS
) -> list[PairedTest]:
    """Compare pairs of classifiers; their p-values are corrected together.

    Parameters
    ----------
    pairs : sequence of (first, second)
        Whether each was right, bool (N,), image by image.
    seed : int
        Of the bootstrap; every pair begins with it anew, so that it does not depend on the others.
    draws : int
        Of the bootstrap.
    """
    counts = [(len(a), int((a & ~b).sum()), int((b & ~a).sum())) for a, b in pairs]
    p_values = [mcnemar(first, second) for _, first, second in counts]
    return [
        PairedTest(images, first, second, *bootstrap_interval(images, first, second, seed, draws), p, adjusted)
        for (images, first, second), p, adjusted in zip(counts, p_values, holm(p_values), strict=True)
    ]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's test: the exact binomial one, at any count.

    Were both equally accurate, each image that one alone has right would be either's with probability one half.
    """
    from scipy.stats import binom

    disagreements = only_first + only_second
    return min(1.0, float(2 * binom.cdf(min(only_first, only_second), disagreements, 0.5))) if disagreements else 1.0


def bootstrap_interval(
    images: int, only_first: int, only_second: int, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the accuracy difference, images drawn again with both answers.

    Which images are drawn matters only by how many are of which kind, and these counts are multinomial: all draws are
    one call. Where no image tells the two apart a resample cannot either; the interval is then what images unseen could
    still hold, the exact binomial bound on a share of which none of ``images`` was.
    """
    if only_first == only_second == 0:
        bound = 1 - (LEVEL / 2) ** (1 / images)
        return -bound, bound
    kinds = np.array([only_first, only_second, images - only_first - only_second])
    drawn = np.random.default_rng(seed).multinomial(images, kinds / images, size=draws)  # (draws, 3)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / images, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values by Holm's step-down method: below a level, all together err at most that often."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class ClassChange:
    """What one class gained and lost from the first classifier to the second.

    Attributes
    ----------
    images : int
        Of the class.
    gained, lost : int
        Images that only the second, or only the first, has right.
    p_adjusted : float
        McNemar's, by Holm's method over all classes.
    """

    name: str
    images: int
    gained: int
    lost: int
    p_adjusted: float

    @property
    def net(self) -> int:
        """Images gained less images lost."""
        return self.gained - self.lost


def class_changes(
    first: NDArray[np.bool_], second: NDArray[np.bool_], labels: NDArray[np.int64], names: Sequence[str]
) -> list[ClassChange]:
    """Return the change of every class that has images, the largest net loss first."""
    sizes, gained, lost = (
        np.bincount(labels[mask], minlength=len(names))
        for mask in (np.ones(len(labels), bool), second & ~first, first & ~second)
    )
    present: list[int] = np.flatnonzero(sizes).tolist()
    adjusted = holm([mcnemar(int(lost[i]), int(gained[i])) for i in present])
    changes = [
        ClassChange(names[i], int(sizes[i]), int(gained[i]), int(lost[i]), p)
        for i, p in zip(present, adjusted, strict=True)
    ]
    return sorted(changes, key=lambda change: change.net)
