"""Audit pages with any number of classes, from drawn probabilities: no training."""

from pathlib import Path

import numpy as np

from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.data.dataset import Splits
from frostline.studies.audit.findings import find_all, score_labels, write_table
from frostline.studies.audit.label_noise import fit_noise
from frostline.studies.audit.near_duplicates import Copies, make_pool
from frostline.studies.audit.page import write_page

NOTHING = Copies(np.empty((0, 2), np.int64), np.empty(0), np.arange(0))


def drawn(count: int, classes: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return probabilities that the true labels follow, labels of which a share is wrong, and which those are."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1, (count, classes))
    logits[np.arange(count), draw.integers(0, classes, count)] += draw.uniform(2, 12, count)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    true = (p.cumsum(1) > draw.random((count, 1))).argmax(1)
    wrong = draw.random(count) < share
    labels = np.where(wrong, (true + draw.integers(1, classes, count)) % classes, true)
    return p, labels, wrong


def audit_page(fashion: Splits, classes: int, path: Path, line: str = "") -> Path:
    """Write a page about 600 garments with drawn labels, and the table beside it."""
    count, test = 600, 20
    p, labels, _ = drawn(count + test, classes, 0.1)
    images = np.asarray(fashion.train.images[: count + test])
    names = [f"class {number} {'of a long name ' * (number % 4)}".strip() for number in range(classes)]
    splits = from_arrays(images[:count], labels[:count], names, test=(images[count:], labels[count:]), name="drawn")
    pool = make_pool(splits, TrainConfig(data="drawn"))
    points = np.random.default_rng(1).normal(0, 1, (len(pool), 8)).astype(np.float32)
    known = ~pool.in_test
    scored = score_labels(pool, p, known, fit_noise(p[known], pool.labels[known]), 0.2)
    members = (np.arange(len(pool))[:, None] + np.arange(1, 11)) % len(pool)
    findings = find_all(pool, scored, NOTHING, members, np.square(points[:, :4]) + 1, ambiguous=not line)
    counts = {name: len(part) for name, part in zip(pool.names, pool.parts, strict=True)}
    facts = {
        "data": {"name": "drawn", "source": "memory", "images": counts},
        "test_labels_questioned": False,
        "network": {"name": "alexnet", "weights": "bundled", "image_size": 64},
        "folds": {"count": 5, "agreement": 0.9},
        "judgment": {"possible": not line, "line": line},
        "label_errors": {
            "fdr": 0.2,
            "listed": int(scored.suspected.sum()),
            "expected_right": float(scored.p_right[scored.suspected].sum()),
        },
        "seed": 0,
        "frostline": "0",
    }
    write_page(findings, pool, scored, facts, points, path)
    write_table(findings, pool, scored, path.with_suffix(".csv"))
    return path
