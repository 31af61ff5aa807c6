"""Findings of an audit: suspected label errors, near-duplicates, outliers, ambiguous images; most suspicious first.

Labels are scored by cleanlab and listed up to a false discovery rate. cleanlab's ``Datalab`` finds near-duplicates and
outliers too, but needs the ``datasets`` package (not in ``frostline[audit]``) and calls images duplicates by their
features alone, without comparing pixels.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.storage import OTHER_OUTPUT_DIR, write_bytes
from frostline.studies.audit.label_noise import LabelNoise, choose
from frostline.studies.audit.near_duplicates import Copies, Pool

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
    """One finding about one image.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    suspicion : float
        0 to 1, comparable within a kind.
    image : int
        Number in the pool.
    note : str
        Explanation.
    suggested : int or None
        More probable class.
    other : int or None
        The image it is a copy of.
    """

    kind: str
    suspicion: float
    image: int
    note: str
    suggested: int | None = None
    other: int | None = None


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions of heads that were not trained on the images, and label quality.

    Attributes
    ----------
    probabilities : ndarray of float64, shape (N, classes)
        Calibrated.
    audited : ndarray of bool, shape (N,)
        Whether the label is checked: test labels only on request, and no class whose images are all in one fold.
    quality : ndarray of float64, shape (N,)
        cleanlab's score, 0 to 1: the probability of the given label; 1 where it is not checked.
    p_right : ndarray of float64, shape (N,)
        The probability that the label is right (`LabelNoise`); 1 where it is not checked.
    suspected : ndarray of bool, shape (N,)
        Listed labels: as many as the false discovery rate allows.
    """

    probabilities: NDArray[np.float64]
    audited: NDArray[np.bool_]
    quality: NDArray[np.float64]
    p_right: NDArray[np.float64]
    suspected: NDArray[np.bool_]


def score_labels(
    pool: Pool, probabilities: NDArray[np.float64], audited: NDArray[np.bool_], noise: LabelNoise, fdr: float
) -> OutOfFold:
    """Score labels with cleanlab (Northcutt et al. 2021, arXiv:1911.00068), and list those that are expected wrong."""
    from cleanlab.rank import get_label_quality_scores

    labels, p = pool.labels[audited], probabilities[audited]
    quality, p_right, suspected = np.ones(len(pool)), np.ones(len(pool)), np.zeros(len(pool), bool)
    # The probability of the label found more flipped labels than cleanlab's other scores (bench/audit.py).
    quality[audited] = get_label_quality_scores(labels, p, method="self_confidence")
    p_right[audited] = noise.p_right(p, labels)
    suspected[audited] = choose(p_right[audited], p.argmax(1) != labels, fdr)
    return OutOfFold(probabilities, audited, quality, p_right, suspected)


def find_all(
    pool: Pool,
    scored: OutOfFold,
    copies: Copies,
    members: NDArray[np.int64],
    distances: NDArray[np.float32],
    *,
    ambiguous: bool = True,
) -> list[Finding]:
    """Return all findings by kind, the most suspicious first.

    Parameters
    ----------
    members, distances : ndarray (N, M)
        The nearest other images of each.
    ambiguous : bool
        Report ambiguous images; to heads that cannot judge, most images are.
    """
    finders: Sequence[Callable[[], list[Finding]]] = (
        lambda: _label_errors(pool, scored, members),
        lambda: _duplicates(pool, scored, copies),
        lambda: _outliers(scored, distances),
        lambda: _ambiguous(pool, scored) if ambiguous else [],
    )
    return [finding for finder in finders for finding in sorted(finder(), key=lambda f: (-f.suspicion, f.image))]


def _label_errors(pool: Pool, scored: OutOfFold, members: NDArray[np.int64]) -> list[Finding]:
    found = []
    for image in np.flatnonzero(scored.suspected).tolist():
        suggested = int(scored.probabilities[image].argmax())
        near = members[image][scored.audited[members[image]]]
        agreeing = int((pool.labels[near] == suggested).sum())
        note = f"{agreeing} of {len(near)} nearest images are labeled {pool.class_names[suggested]}"
        found.append(Finding("label", 1 - float(scored.p_right[image]), image, note, suggested))
    return found


def _duplicates(pool: Pool, scored: OutOfFold, copies: Copies) -> list[Finding]:
    """Report the redundant copies; test images are reported only if the test split is audited."""
    found = []
    for image, other, closeness in copies.redundant(scored.audited):
        words = ["identical pixels" if pool.row_ids[image] == pool.row_ids[other] else "near-duplicate"]
        if pool.split(image) != pool.split(other):
            words.append(f"across splits: {pool.split(image)} and {pool.split(other)}")
        if scored.audited[other] and pool.labels[image] != pool.labels[other]:
            words.append(f"copy labeled {pool.class_names[pool.labels[other]]}")
        found.append(Finding("duplicate", closeness, image, ", ".join(words), other=other))
    return found


def _outliers(scored: OutOfFold, distances: NDArray[np.float32]) -> list[Finding]:
    """Report images with a large mean distance to their neighbors, on a logarithmic scale."""
    far = np.log(np.maximum(distances.mean(1), 1e-12))
    low, middle, high = np.percentile(far, [25, 50, 75])
    fence = high + FAR_OUT * (high - low)
    return [
        Finding("outlier", float(1 - np.exp(middle - far[image])), image,
                f"{np.exp(far[image] - middle):.1f} times the median distance to the nearest images")
        for image in np.flatnonzero(scored.audited & (far > fence)).tolist()
    ]  # fmt: skip


def _ambiguous(pool: Pool, scored: OutOfFold) -> list[Finding]:
    """Report images with nearly equal probabilities of two classes, one of which is the label."""
    if scored.probabilities.shape[1] < 2:
        return []
    order = np.argsort(-scored.probabilities, axis=1, kind="stable")[:, :2]  # (N, 2)
    best, second = np.take_along_axis(scored.probabilities, order, 1).T
    labeled = (order == pool.labels[:, None]).any(1)
    chosen = scored.audited & ~scored.suspected & labeled & (best - second < CLOSE_CALL)
    return [
        Finding("ambiguous", 1 - float(best[image] - second[image]), image,
                " or ".join(f"{pool.class_names[c]} ({scored.probabilities[image, c]:.2f})" for c in order[image]))
        for image in np.flatnonzero(chosen).tolist()
    ]  # fmt: skip


COLUMNS = (
    "finding", "suspicion", "split", "number", "path", "label", "new_label", "remove", "p_label", "suggested",
    "p_suggested", "like", "note", "content", "fdr",
)  # fmt: skip


def write_table(findings: Sequence[Finding], pool: Pool, scored: OutOfFold, path: Path) -> None:
    """Write the findings as CSV; for suspected label errors ``new_label`` holds the suggestion, for review."""
    text = as_csv(table_lines(findings, pool, scored), header=True)
    write_bytes(path, text.encode(errors="surrogateescape"), OTHER_OUTPUT_DIR)


def as_csv(lines: Iterable[dict[str, str]], *, header: bool = False) -> str:
    """Return lines of the table as CSV text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def table_lines(findings: Sequence[Finding], pool: Pool, scored: OutOfFold) -> Iterator[dict[str, str]]:
    """Yield the line of each finding; ``fdr`` is the estimate for the suspected labels up to there."""
    right = labels = 0.0
    for finding in findings:
        line = _line(finding, pool, scored)
        if finding.kind == "label":
            right, labels = right + 1 - finding.suspicion, labels + 1
            line["fdr"] = f"{right / labels:.4f}"
        yield line


def _line(finding: Finding, pool: Pool, scored: OutOfFold) -> dict[str, str]:
    image, names = finding.image, pool.class_names
    label, p = int(pool.labels[image]), scored.probabilities[image]
    suggested = "" if finding.suggested is None else names[finding.suggested]
    return {
        "finding": finding.kind,
        "suspicion": f"{finding.suspicion:.4f}",
        "split": pool.split(image),
        "number": str(pool.numbers[image]),
        "path": pool.path(image),
        "label": names[label],
        "new_label": suggested,
        "remove": "",
        "p_label": f"{p[label]:.4f}",
        "suggested": suggested,
        "p_suggested": "" if finding.suggested is None else f"{p[finding.suggested]:.4f}",
        "like": "" if finding.other is None else pool.where(finding.other),
        "note": finding.note,
        "content": pool.row_ids[image].hex(),
        "fdr": "",
    }
