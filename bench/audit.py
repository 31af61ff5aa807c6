"""How many flipped labels does an audit find, at what cost? Fashion-MNIST; no label of the test split is read.

    OMP_NUM_THREADS=2 python bench/audit.py [--share 0.02] [--images 60000] [--seed 0] [--cache-dir DIR]

Flips a share of the training labels, each to another class that a seed draws, and looks for them among as many top
suspects as there are flips. The published labels have errors of their own, which count as misses here. The base rate is
what as many random picks find. The frozen pass is run first, or read from the cache, and not counted.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from common import machine
from frostline.config import TrainConfig
from frostline.experiments.audit.audit import audit
from frostline.images.dataset import ImageDataset, Splits
from frostline.images.fashion_mnist import load
from frostline.images.splits import limited


def flipped(splits: Splits, share: float, images: int, seed: int) -> tuple[Splits, np.ndarray]:
    """Return a data set with some wrong training labels, and which those are."""
    train = splits.train.subset(limited(splits.train.labels, images, seed))
    draw = np.random.default_rng([seed, 0xF11])
    wrong = np.sort(draw.permutation(len(train))[: round(share * len(train))])
    labels, classes = train.labels.copy(), len(train.class_names)
    labels[wrong] = (labels[wrong] + draw.integers(1, classes, len(wrong))) % classes
    return dataclasses.replace(splits, train=ImageDataset(train.images, labels, train.class_names)), wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.02)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache-dir", type=Path)
    options = parser.parse_args()
    print(machine())
    splits, wrong = flipped(load(), options.share, options.images, options.seed)
    config = TrainConfig(data="fashion-mnist", weights=options.weights, seed=options.seed)
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache_dir or Path(folder, "cache")
        if options.cache_dir is None:
            audit(config, Path(folder, "cold"), cache_dir=cache, splits=splits)
        begun, processor = time.perf_counter(), time.process_time()
        found = audit(config, Path(folder, "audit"), cache_dir=cache, splits=splits)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    suspects = np.argsort(found.judged.quality[: len(splits.train)], kind="stable")
    top = np.isin(wrong, suspects[: len(wrong)]).mean()
    listed = [finding.picture for finding in found.findings if finding.kind == "label"]
    print(f"{len(wrong):,} of {len(splits.train):,} training labels flipped, seed {options.seed}")
    print(f"recall among the {len(wrong):,} top suspects {top:.3f}; random picks find {options.share:.3f}")
    print(f"recall among all {len(listed):,} suspects {np.isin(wrong, listed).mean():.3f}; "
          f"random picks find {len(listed) / len(splits.train):.3f}")  # fmt: skip
    print(f"agreement with labels not seen {found.facts['folds']['agreement']:.4f}")
    print(f"{seconds:.1f} s with a warm cache, {processor:.1f} s of processor time, "
          f"peak memory {found.facts['peak_memory_bytes'] / 2**30:.2f} GiB")  # fmt: skip
    print(", ".join(f"{count:,} {kind}" for kind, count in found.facts["findings"].items()))


if __name__ == "__main__":
    main()
