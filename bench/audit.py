"""How many wrong labels does an audit find among Fashion-MNIST's, and how long does it take?

    OMP_NUM_THREADS=2 python -m bench audit [--share 0.02] [--images 60000] [--seed 0] [--cache-dir DIR]

Changes a share of the training labels, each to another class that a seed draws, and looks for them among as many top
suspects as there are changed labels. Errors of the published labels count as misses. The base rate is what as many
random picks find. The frozen pass runs first, or is read from the cache, and is not timed. Prints recall, seconds and
peak memory. No label of the test split is read.

About 4 minutes on 2 cores.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.common.machine import GIB
from bench.common.options import start
from bench.common.timing import Stopwatch
from frostline import TrainConfig
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.fashion_mnist import load
from frostline.data.splits import limited
from frostline.studies.audit.audit import audit


def with_wrong_labels(splits: Splits, share: float, images: int, seed: int) -> tuple[Splits, np.ndarray]:
    """Return a data set with some wrong training labels, and which those are."""
    train = splits.train.subset(limited(splits.train.labels, images, seed))
    draw = np.random.default_rng([seed, 0xF11])
    wrong = np.sort(draw.permutation(len(train))[: round(share * len(train))])
    labels, classes = train.labels.copy(), len(train.class_names)
    labels[wrong] = (labels[wrong] + draw.integers(1, classes, len(wrong))) % classes
    return dataclasses.replace(splits, train=ImageDataset(train.images, labels, train.class_names)), wrong


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, share=0.02, images=60_000, weights="bundled", seed=0, cache_dir={"type": Path})
    splits, wrong = with_wrong_labels(load(), options.share, options.images, options.seed)
    config = TrainConfig(data="fashion-mnist", weights=options.weights, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache_dir or Path(folder, "cache")
        if options.cache_dir is None:
            audit(config, Path(folder, "cold"), cache_dir=cache, splits=splits)
        with Stopwatch() as watch:
            found = audit(config, Path(folder, "audit"), cache_dir=cache, splits=splits)
    count = len(splits.train)
    suspects = np.argsort(found.scored.quality[:count], kind="stable")
    top = np.isin(wrong, suspects[: len(wrong)]).mean()
    listed = [finding.image for finding in found.findings if finding.kind == "label"]
    print(f"{len(wrong):,} of {count:,} training labels changed, seed {options.seed}")
    print(f"recall among the {len(wrong):,} top suspects {top:.3f}; random picks find {options.share:.3f}")
    print(f"recall among all {len(listed):,} suspects {np.isin(wrong, listed).mean():.3f}; "
          f"random picks find {len(listed) / count:.3f}")  # fmt: skip
    print(f"agreement with held-out labels {found.facts['folds']['agreement']:.4f}")
    print(f"{watch.seconds:.1f} s with a warm cache, {watch.processor_seconds:.1f} s of processor time, "
          f"peak memory {found.facts['peak_memory_bytes'] / GIB:.2f} GiB")  # fmt: skip
    print(", ".join(f"{count:,} {kind}" for kind, count in found.facts["findings"].items()))
