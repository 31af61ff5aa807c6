"""What an audit finds: suspected label errors, near-duplicates, outliers, ambiguous pictures; most suspicious first."""

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
    "ambiguous": "ambiguous pictures",
}
CLOSE_CALL = 0.1  # the two best classes' probabilities are nearer than this
FAR_OUT = 1.5  # interquartile ranges above the upper quartile (Tukey, Exploratory Data Analysis, 1977)


@dataclass(frozen=True)
class Finding:
    """One thing about one picture.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    suspicion : float
        0 to 1 within its kind.
    picture : int
        Its number in the pool.
    note : str
        In words.
    suggested : int or None
        The class that fits better.
    other : int or None
        The picture that it is a copy of.
    """

    kind: str
    suspicion: float
    picture: int
    note: str
    suggested: int | None = None
    other: int | None = None


@dataclass(frozen=True, eq=False)
class Judged:
    """What heads that never saw a picture's label think of it.

    Attributes
    ----------
    probabilities : ndarray of float64, shape (N, classes)
        Calibrated.
    audited : ndarray of bool, shape (N,)
        Whose labels are questioned: those of the test split only when that was asked for, and none of a class that the
        other folds have no picture of.
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


def judge(pool: Pool, probabilities: NDArray[np.float64], audited: NDArray[np.bool_]) -> Judged:
    """Ask cleanlab which labels do not fit the probabilities (Northcutt et al. 2021, arXiv:1911.00068)."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, p = pool.labels[audited], probabilities[audited]
    quality, suspected = np.ones(len(pool)), np.zeros(len(pool), bool)
    # The plain probability of the label found more flipped labels than its other scores (bench/audit.py).
    quality[audited] = get_label_quality_scores(labels, p, method="self_confidence")
    unlikely = find_label_issues(labels, p, filter_by="low_self_confidence", n_jobs=1)
    suspected[audited] = unlikely & (p.argmax(1) != labels)
    return Judged(probabilities, audited, quality, suspected)


def find(
    pool: Pool, judged: Judged, copies: Copies, members: NDArray[np.int64], distances: NDArray[np.float32]
) -> list[Finding]:
    """Return every finding: kind after kind, the most suspicious first.

    Parameters
    ----------
    members, distances : ndarray (N, M)
        The nearest other pictures of each.
    """
    finders: Sequence[Callable[[], list[Finding]]] = (
        lambda: _label_errors(pool, judged, members),
        lambda: _duplicates(pool, judged, copies),
        lambda: _outliers(judged, distances),
        lambda: _ambiguous(pool, judged),
    )
    return [finding for finder in finders for finding in sorted(finder(), key=lambda f: (-f.suspicion, f.picture))]


def _label_errors(pool: Pool, judged: Judged, members: NDArray[np.int64]) -> list[Finding]:
    found = []
    for picture in np.flatnonzero(judged.suspected).tolist():
        suggested = int(judged.probabilities[picture].argmax())
        near = members[picture][judged.audited[members[picture]]]
        agreeing = int((pool.labels[near] == suggested).sum())
        note = f"{agreeing} of {len(near)} nearest pictures are {pool.class_names[suggested]}"
        found.append(Finding("label", 1 - float(judged.quality[picture]), picture, note, suggested))
    return found


def _duplicates(pool: Pool, judged: Judged, copies: Copies) -> list[Finding]:
    """Tell of every copy but one of its kind; the test split is never told to change for the others' sake."""
    found = []
    for picture, other, closeness in copies.told(pool, judged.audited):
        words = ["the same pixels" if pool.row_ids[picture] == pool.row_ids[other] else "looks the same"]
        if pool.split(picture) != pool.split(other):
            words.append(f"across splits: {pool.split(picture)} and {pool.split(other)}")
        if judged.audited[other] and pool.labels[picture] != pool.labels[other]:
            words.append(f"but labelled {pool.class_names[pool.labels[other]]} there")
        found.append(Finding("duplicate", closeness, picture, ", ".join(words), other=other))
    return found


def _outliers(judged: Judged, distances: NDArray[np.float32]) -> list[Finding]:
    """Tell of pictures that are unusually far from their neighbours, on average over these (of the logarithm)."""
    far = np.log(np.maximum(distances.mean(1), 1e-12))
    low, middle, high = np.percentile(far, [25, 50, 75])
    fence = high + FAR_OUT * (high - low)
    return [
        Finding("outlier", float(1 - np.exp(middle - far[picture])), picture,
                f"{np.exp(far[picture] - middle):.1f} times as far from its nearest pictures as is usual")
        for picture in np.flatnonzero(judged.audited & (far > fence)).tolist()
    ]  # fmt: skip


def _ambiguous(pool: Pool, judged: Judged) -> list[Finding]:
    """Tell of pictures between two classes, one of which is their label."""
    if judged.probabilities.shape[1] < 2:
        return []
    order = np.argsort(-judged.probabilities, axis=1, kind="stable")[:, :2]  # (N, 2)
    best, second = np.take_along_axis(judged.probabilities, order, 1).T
    labelled = (order == pool.labels[:, None]).any(1)
    chosen = judged.audited & ~judged.suspected & labelled & (best - second < CLOSE_CALL)
    return [
        Finding("ambiguous", 1 - float(best[picture] - second[picture]), picture,
                " or ".join(f"{pool.class_names[c]} ({judged.probabilities[picture, c]:.2f})" for c in order[picture]))
        for picture in np.flatnonzero(chosen).tolist()
    ]  # fmt: skip
