"""How much accuracy does each ingredient of fine-tuning the whole network add?

    python -m bench ingredients [--images 12000] [--epochs 5] [--image-size 112] [--only NAME,...]

Trains the recipe of docs/recipes.md on fewer images and epochs, then the same with one ingredient removed or added
(`CHANGES`). All begin with the same head and see the same images in the same order. Prints accuracy and loss on the
same 6,000 validation images after the last epoch: one seed, with the standard error of one accuracy (that of a
difference is smaller, since the images are the same). The test split is not read.

About 1 hour on 2 cores.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.common.options import start
from bench.common.tables import Table
from bench.common.timing import Stopwatch
from frostline.config import TrainConfig
from frostline.data.registry import load_dataset
from frostline.data.splits import limited
from frostline.pipeline.context import make_context
from frostline.pipeline.extract import extract
from frostline.pipeline.resolve import Plan, RunSplits, resolve_network, split
from frostline.pipeline.train import train

RECIPE = {
    "data": "fashion-mnist", "weights": "bundled", "freeze": "none", "batch_size": 128, "lr": 5e-4, "ema": 0.999,
    "batch_norm": True, "amp": True, "head_epochs": 8,
}  # fmt: skip
CHANGES: dict[str, dict[str, object]] = {
    "the recipe": {},
    "without batch normalization": {"batch_norm": False},
    "without averaged weights": {"ema": 0.0},
    "without label smoothing": {"label_smoothing": 0.0},
    "without augmentation": {"views": 1},
    "without the head first": {"schedule": "together", "head_epochs": None},
    "without 16 bits": {"amp": False},
    "from random weights": {"weights": "random"},
    "with half the learning rate": {"lr": 2.5e-4},
    "with layer decay 0.7": {"layer_decay": 0.7},
    "with erasing 0.4": {"augment": {"erase": 0.4}},
    "with cutmix 1": {"cutmix": 1.0},
    "with mixup 0.2": {"mixup": 0.2},
}


def validated(config: TrainConfig, splits: RunSplits, cache: Path) -> tuple[float, float, float]:
    """Return loss and accuracy on validation after the last epoch, and the seconds of the thawed epochs."""
    context = make_context(config.device, cache)
    plan = Plan(resolve_network(config, splits.train, context), splits)
    history = train(extract(plan, context)).trained.history
    last = history[-1]
    return last.val_loss, last.val_accuracy, sum(line.seconds for line in history if line.freeze == "none")


def main(arguments: Sequence[str]) -> None:
    only = {"default": ",".join(CHANGES), "help": "names of changes, separated by commas"}
    options = start(__doc__, arguments, images=12_000, epochs=5, image_size=112, only=only)
    config = TrainConfig(**RECIPE, image_size=options.image_size, epochs=options.epochs)
    parts = split(load_dataset(config.data), config)
    few = parts.train.subset(limited(parts.train.labels, options.images, config.seed))
    parts = replace(parts, train=few, test=parts.test.subset(np.arange(0)))
    print(f"{len(parts.train):,} training and {len(parts.val):,} validation images")
    table = Table("recipe:30", "val accuracy:15", "loss:6", "thawed s:>8", "seconds:>7")
    with tempfile.TemporaryDirectory() as cache:
        for name in options.only.split(","):
            changed = TrainConfig(**{**config.model_dump(exclude_none=True), **CHANGES[name]})
            with Stopwatch() as watch:
                loss, accuracy, thawed = validated(changed, parts, Path(cache))
            error = math.sqrt(accuracy * (1 - accuracy) / len(parts.val))
            table.row(name, f"{accuracy:.4f} ± {error:.4f}", f"{loss:.4f}", f"{thawed:.0f}", f"{watch.seconds:.0f}")
