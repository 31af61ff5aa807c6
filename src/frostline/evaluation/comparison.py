"""Paired tests of two classifiers on the same images.

Everything is computed from the numbers of images that exactly one of the two classifies correctly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
LEVEL = 0.05


@dataclass(frozen=True)
class PairedTest:
    """The comparison of two classifiers on the same images."""

    images: int
    only_first: int  # images that only the first classifies correctly
    only_second: int
    low: float  # 95 % interval of `difference`, not corrected for multiple comparisons
    high: float
    p_value: float  # McNemar's test
    p_adjusted: float  # corrected by Holm's method for all pairs that were compared together

    @property
    def difference(self) -> float:
        """Accuracy of the second minus accuracy of the first."""
        return (self.only_second - self.only_first) / self.images

    @property
    def significant(self) -> bool:
        """Whether the corrected p-value is below 0.05 and the interval excludes 0."""
        return self.p_adjusted < LEVEL and not self.low <= 0 <= self.high


def compare_pairs(
    pairs: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]], seed: int = 0, draws: int = DRAWS
) -> list[PairedTest]:
    """Compare pairs of classifiers; their p-values are corrected together by Holm's method.

    Parameters
    ----------
    pairs : sequence of (first, second)
        Whether each prediction is correct, bool (N,).
    seed : int
        Seed of the bootstrap; each pair starts from it, so its interval does not depend on the other pairs.
    draws : int
        Bootstrap resamples.
    """
    counts = [(len(a), int((a & ~b).sum()), int((b & ~a).sum())) for a, b in pairs]
    p_values = [mcnemar(first, second) for _, first, second in counts]
    return [
        PairedTest(images, first, second, *bootstrap_interval(images, first, second, seed, draws), p, adjusted)
        for (images, first, second), p, adjusted in zip(counts, p_values, holm(p_values), strict=True)
    ]


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test, a binomial test with probability one half."""
    from scipy.stats import binomtest

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def bootstrap_interval(
    images: int, only_first: int, only_second: int, seed: int = 0, draws: int = DRAWS
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the difference in accuracy, resampling images.

    The difference depends only on the counts of three kinds of images, which are multinomial: one call draws all
    resamples. Without discordant images the bootstrap is degenerate; the interval is then the exact binomial bound on
    a proportion of which 0 of ``images`` were observed.
    """
    if only_first == only_second == 0:
        bound = 1 - (LEVEL / 2) ** (1 / images)
        return -bound, bound
    kinds = np.array([only_first, only_second, images - only_first - only_second])
    drawn = np.random.default_rng(seed).multinomial(images, kinds / images, size=draws)  # (draws, 3)
    low, high = np.quantile((drawn[:, 1] - drawn[:, 0]) / images, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm's step-down method (SciPy has none), which bounds the family-wise error rate."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]


@dataclass(frozen=True)
class ClassChange:
    """The change of one class from the first classifier to the second."""

    name: str
    images: int
    gained: int  # images that only the second classifies correctly
    lost: int  # images that only the first classifies correctly
    p_adjusted: float  # McNemar's test, corrected by Holm's method over all classes

    @property
    def net(self) -> int:
        """Images gained minus images lost."""
        return self.gained - self.lost


def class_changes(
    first: NDArray[np.bool_], second: NDArray[np.bool_], labels: NDArray[np.int64], names: Sequence[str]
) -> list[ClassChange]:
    """Return the change of each class that has images, largest net loss first."""
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
