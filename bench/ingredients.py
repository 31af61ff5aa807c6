"""What each ingredient of fine-tuning the whole network gives, on the validation split alone.

    python bench/ingredients.py [--images 12000] [--epochs 5] [--size 112] [--only NAME,…]

The recipe of docs/recipes.md on fewer pictures and epochs, then the same with one ingredient taken away or put in. All
begin with the same head, see the same pictures in the same order and are judged on the same 6,000 pictures of the
validation split after the last epoch (one seed; the standard error of one accuracy is printed, that of a difference is
smaller, since the pictures are the same). The test split is not read.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from frostline.runs.choose import Parts, prepare, split
from frostline.runs.learn import Material, learn
from frostline.runs.phases import plan

from common import machine
from frostline.config import TrainConfig
from frostline.device import pick_device
from frostline.images.registry import load_dataset
from frostline.images.splits import limited

RECIPE = {
    "data": "fashion-mnist", "weights": "bundled", "freeze": "none", "batch_size": 128, "lr": 5e-4, "ema": 0.999,
    "batch_norm": True, "amp": True, "head_epochs": 8,
}  # fmt: skip
CHANGES: dict[str, dict[str, object]] = {
    "the recipe": {},
    "without batch normalisation": {"batch_norm": False},
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


def validated(config: TrainConfig, parts: Parts, cache: Path) -> tuple[float, float, float]:
    """Return loss and accuracy on validation after the last epoch, and the seconds of the thawed epochs."""
    config, backbone, boundary, preprocess = prepare(config, parts.train, cache, None)
    material = Material(config, parts, backbone, preprocess, pick_device(config.device), cache, None)
    history = learn(None, plan(config, backbone, boundary), material).trained.history
    last = history[-1]
    return last.val_loss, last.val_accuracy, sum(line.seconds for line in history if line.freeze == "none")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--only", default="", help="some of the names below, separated by commas")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(CHANGES)
    config = TrainConfig(**RECIPE, image_size=options.size, epochs=options.epochs)
    parts = split(load_dataset(config.data), config)
    few = parts.train.subset(limited(parts.train.labels, options.images, config.seed))
    parts = replace(parts, train=few, test=parts.test.subset(np.arange(0)))
    print(machine())
    print(f"{len(parts.train):,} pictures, {len(parts.val):,} validate, {options.size} px, {options.epochs} epochs")
    with tempfile.TemporaryDirectory() as cache:
        for name in wanted:
            begun = time.perf_counter()
            changed = TrainConfig(**{**config.model_dump(exclude_none=True), **CHANGES[name]})
            loss, accuracy, seconds = validated(changed, parts, Path(cache))
            error = math.sqrt(accuracy * (1 - accuracy) / len(parts.val))
            print(
                f"{name:30} val accuracy {accuracy:.4f} ± {error:.4f}  loss {loss:.4f}  "
                f"{seconds:.0f} s thawed, {time.perf_counter() - begun:.0f} s in all",
                flush=True,
            )


if __name__ == "__main__":
    main()
