"""Findings of an audit: suspected label errors, near-duplicates, outliers, ambiguous images; most suspicious first.

Label errors are cleanlab's. Its ``Datalab`` finds near-duplicates and outliers too, but needs the ``datasets`` package
(not in ``frostline[audit]``) and calls images duplicates by their features alone, without comparing pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frostline.errors import ConfigError
from frostline.studies.audit.near_duplicates import Copies
from frostline.studies.audit.pool import Pool

KINDS = {
    "label": "suspected label errors",
    "duplicate": "near-duplicates",
    "outlier": "outliers",
    "ambiguous": "ambiguous images",
}
CLOSE_CALL = 0.1  # the two best classes' probabilities are nearer than this
FAR_OUT = 1.5  # interquartile ranges above the upper quartile (Tukey, Exploratory Data Analysis, 1977)


@dataclass(frozen=True)
class Finding:
    """One thing about one image.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    suspicion : float
        0 to 1 within its kind.
    image : int
        Its number in the pool.
    note : str
        In words.
    suggested : int or None
        The class that fits better.
    other : int or None
        The image that it is a copy of.
    """

    kind: str
    suspicion: float
    image: int
    note: str
    suggested: int | None = None
    other: int | None = None


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What heads that never saw an image's label think of it.

    Attributes
    ----------
    probabilities : ndarray of float64, shape (N, classes)
        Calibrated.
    audited : ndarray of bool, shape (N,)
        Whose labels are questioned: those of the test split only when that was asked for, and none of a class that the
        other folds have no image of.
    quality : ndarray of float64, shape (N,)
        cleanlab's score, 0 to 1: the probability of the given label. Low is suspicious; 1 where it is not questioned.
    suspected : ndarray of bool, shape (N,)
        Which labels cleanlab takes for wrong.
    """

    probabilities: NDArray[np.float64]
    audited: NDArray[np.bool_]
    quality: NDArray[np.float64]
    suspected: NDArray[np.bool_]


def check_cleanlab() -> None:
    """Refuse to begin without cleanlab.

    Raises
    ------
    ConfigError
    """
    try:
        import cleanlab.filter  # noqa: F401
    except ImportError as error:
        raise ConfigError("audit needs cleanlab, which is not installed: pip install 'frostline[audit]'.") from error


def judge(pool: Pool, probabilities: NDArray[np.float64], audited: NDArray[np.bool_]) -> OutOfFold:
    """Ask cleanlab which labels do not fit the probabilities (Northcutt et al. 2021, arXiv:1911.00068)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, p = pool.labels[audited], probabilities[audited]
    quality, suspected = np.ones(len(pool)), np.zeros(len(pool), bool)
    # The plain probability of the label found more flipped labels than its other scores (bench/audit.py).
    quality[audited] = get_label_quality_scores(labels, p, method="self_confidence")
    unlikely = find_label_issues(labels, p, filter_by="low_self_confidence", n_jobs=1)
    suspected[audited] = unlikely & (p.argmax(1) != labels)
    return OutOfFold(probabilities, audited, quality, suspected)


def find(
    pool: Pool, judged: OutOfFold, copies: Copies, members: NDArray[np.int64], distances: NDArray[np.float32]
) -> list[Finding]:
    """Return every finding: kind after kind, the most suspicious first.

    Parameters
    ----------
    members, distances : ndarray (N, M)
        The nearest other images of each.
    """
    finders: Sequence[Callable[[], list[Finding]]] = (
        lambda: _label_errors(pool, judged, members),
        lambda: _duplicates(pool, judged, copies),
        lambda: _outliers(judged, distances),
        lambda: _ambiguous(pool, judged),
    )
    return [finding for finder in finders for finding in sorted(finder(), key=lambda f: (-f.suspicion, f.image))]


def _label_errors(pool: Pool, judged: OutOfFold, members: NDArray[np.int64]) -> list[Finding]:
    found = []
    for image in np.flatnonzero(judged.suspected).tolist():
        suggested = int(judged.probabilities[image].argmax())
        near = members[image][judged.audited[members[image]]]
        agreeing = int((pool.labels[near] == suggested).sum())
        note = f"{agreeing} of {len(near)} nearest images are {pool.class_names[suggested]}"
        found.append(Finding("label", 1 - float(judged.quality[image]), image, note, suggested))
    return found


def _duplicates(pool: Pool, judged: OutOfFold, copies: Copies) -> list[Finding]:
    """Tell of every copy but one of its kind; the test split is never told to change for the others' sake."""
    found = []
    for image, other, closeness in copies.told(pool, judged.audited):
        words = ["the same pixels" if pool.row_ids[image] == pool.row_ids[other] else "looks the same"]
        if pool.split(image) != pool.split(other):
            words.append(f"across splits: {pool.split(image)} and {pool.split(other)}")
        if judged.audited[other] and pool.labels[image] != pool.labels[other]:
            words.append(f"but labeled {pool.class_names[pool.labels[other]]} there")
        found.append(Finding("duplicate", closeness, image, ", ".join(words), other=other))
    return found


def _outliers(judged: OutOfFold, distances: NDArray[np.float32]) -> list[Finding]:
    """Tell of images that are unusually far from their neighbors, on average over these (of the logarithm)."""
    far = np.log(np.maximum(distances.mean(1), 1e-12))
    low, middle, high = np.percentile(far, [25, 50, 75])
    fence = high + FAR_OUT * (high - low)
    return [
        Finding("outlier", float(1 - np.exp(middle - far[image])), image,
                f"{np.exp(far[image] - middle):.1f} times as far from its nearest images as is usual")
        for image in np.flatnonzero(judged.audited & (far > fence)).tolist()
    ]  # fmt: skip


def _ambiguous(pool: Pool, judged: OutOfFold) -> list[Finding]:
    """Tell of images between two classes, one of which is their label."""
    if judged.probabilities.shape[1] < 2:
        return []
    order = np.argsort(-judged.probabilities, axis=1, kind="stable")[:, :2]  # (N, 2)
    best, second = np.take_along_axis(judged.probabilities, order, 1).T
    labeled = (order == pool.labels[:, None]).any(1)
    chosen = judged.audited & ~judged.suspected & labeled & (best - second < CLOSE_CALL)
    return [
        Finding("ambiguous", 1 - float(best[image] - second[image]), image,
                " or ".join(f"{pool.class_names[c]} ({judged.probabilities[image, c]:.2f})" for c in order[image]))
        for image in np.flatnonzero(chosen).tolist()
    ]  # fmt: skip
