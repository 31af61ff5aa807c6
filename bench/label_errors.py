"""Does an audit list about as many right labels as it says?

    python -m bench label_errors [--fdr 0.2] [--images 2500] [--seed 0] [--cache-dir DIR]

Changes a share of the training labels, each to another class that a seed draws, audits, and compares the expected
number of right labels on the list with the real one. The labels of drawn-objects are right by construction. Errors of
Fashion-MNIST's published labels count as right labels here. Random weights stand for a weak network. Prints a line for
each case. No label of a test split is read.

About 4 minutes on 2 cores.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.audit import with_wrong_labels
from bench.common.options import start
from frostline import TrainConfig
from frostline.data.registry import load_dataset
from frostline.studies.audit.audit import audit
from frostline.studies.audit.label_noise import FDR

CASES = (
    ("drawn-objects", "bundled", (0.0, 0.02, 0.05)),
    ("drawn-objects", "random", (0.0, 0.05)),
    ("fashion-mnist", "bundled", (0.0, 0.02, 0.05)),
)


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, fdr=FDR, images=2500, image_size=64, seed=0, cache_dir={"type": Path})
    with tempfile.TemporaryDirectory() as folder:
        for data, weights, shares in CASES:
            splits = load_dataset(data, cache_dir=options.cache_dir)
            splits = dataclasses.replace(splits, test=splits.test.subset(np.arange(100)))
            config = TrainConfig(data=data, weights=weights, image_size=options.image_size, seed=options.seed)
            for share in shares:
                changed, wrong = with_wrong_labels(splits, share, options.images, options.seed)
                found = audit(
                    config, Path(folder, f"{data}-{weights}-{share}"), fdr=options.fdr, splits=changed,
                    cache_dir=options.cache_dir or Path(folder, "cache"),
                )  # fmt: skip
                errors, agreement = found.facts["label_errors"], found.facts["folds"]["agreement"]
                listed = [finding.image for finding in found.findings if finding.kind == "label"]
                print(
                    f"{data}, {weights} weights, {len(wrong)} of {len(changed.train):,} labels changed, heads agree "
                    f"with {agreement:.3f}: {len(listed)} listed, {errors['expected_right']:.1f} "
                    f"expected to be right, {len(listed) - int(np.isin(listed, wrong).sum())} are",
                    flush=True,
                )
