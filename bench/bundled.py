"""What is the pre-training on drawn pictures worth? The weights that ship with Frostline against He-initialised ones.

    python bench/bundled.py [--seeds 3] [--weights bundled] [--images 60000]

Frozen AlexNet at 128 pixels and a linear head, trained (linear, the default) or solved (ridge); Fashion-MNIST with all
labels, 100 and 10 per class, scikit-learn's digits and drawn-objects (objects that the pre-training never drew). Each
seed draws the validation split, the labels and, for He-initialised weights, the weights. Nothing is chosen here; each
test split is read once per figure, at the end. Prints mean and standard deviation over the seeds, and by how many
standard errors the two differ.
--images N takes N training and N/6 test images of Fashion-MNIST, for a trial.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict

import numpy as np
import torch

from common import InMemory, machine, rows_of
from frostline.activations.forward import FastForward
from frostline.config import TrainConfig
from frostline.images.dataset import ImageDataset
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.images.splits import limited, per_class, train_val
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.runs.choose import usual_epochs
from frostline.runs.phases import recipe_of
from frostline.training.examples import Examples
from frostline.training.loop import measure, moments, train
from frostline.training.ridge import solve

IMAGE_SIZE = 128
CONV5 = 256 * 3 * 3  # numbers that conv5 gives at 128 px; they stand last among the pooled taps
Row = tuple[str, str, str, int | None]  # data set, what the head reads, head, labels per class
ROWS: list[Row] = [
    ("fashion-mnist", "conv5", "linear", None),
    ("fashion-mnist", "conv5", "linear", 100),
    ("fashion-mnist", "conv5", "linear", 10),
    ("fashion-mnist", "conv5", "ridge", 100),
    ("fashion-mnist", "conv5", "ridge", 10),
    ("fashion-mnist", "pooled taps", "linear", None),
    ("fashion-mnist", "pooled taps", "linear", 100),
    ("fashion-mnist", "pooled taps", "linear", 10),
    ("digits", "conv5", "linear", None),
    ("digits", "conv5", "linear", 10),
    ("drawn-objects", "conv5", "linear", None),
    ("drawn-objects", "conv5", "linear", 10),
]


def digits() -> tuple[ImageDataset, ImageDataset]:
    """Return scikit-learn's 1,797 digits of 8 x 8 pixels, a third of them (drawn once) for testing."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.round(data.images * (255 / 16)).astype(np.uint8)
    everything = ImageDataset(images, data.target, tuple(map(str, range(10))))
    train_rows, test_rows = train_val(everything.labels, 1 / 3, seed=0)
    return everything.subset(train_rows), everything.subset(test_rows)


def data_sets(images: int) -> dict[str, tuple[ImageDataset, ImageDataset]]:
    fashion, drawn = load_dataset("fashion-mnist"), load_dataset("drawn-objects")
    parts = [
        part.subset(limited(part.labels, count, seed=0))
        for part, count in ((fashion.train, images), (fashion.test, images // 6))
    ]
    return {
        "fashion-mnist": (parts[0], parts[1]),
        "digits": digits(),
        "drawn-objects": (drawn.train, drawn.test),
    }


def accuracy(
    train_rows: InMemory, train_set: ImageDataset, test: Examples, kind: str, labels: int | None, seed: int
) -> float:
    """Train a head on some labels, choose epoch or strength on a validation split, and test it."""
    config = TrainConfig(data="fashion-mnist")
    chosen, held_out = train_val(train_set.labels, config.val_fraction, seed)
    if labels is not None:
        chosen = chosen[per_class(train_set.labels[chosen], labels, seed)]
    parts = [Examples(train_rows.part(rows), train_set.labels[rows]) for rows in (chosen, held_out)]
    head = Head(HeadSpec(kind, math.prod(train_rows.shape), len(train_set.class_names)))
    head.standardise(*moments(torch.nn.Sequential(), parts[0], seed))
    if kind == "ridge":
        solve(head, *parts)
        return measure(head, test)[1]
    epochs = usual_epochs(len(chosen), config.batch_size, head_only=True)
    recipe = recipe_of(config.model_copy(update={"epochs": epochs, "patience": epochs, "seed": seed}))
    train(head, parts[0], parts[1], recipe)
    return measure(head, test)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--images", type=int, default=60_000)
    options = parser.parse_args()
    print(machine())
    sets = data_sets(options.images)
    found: dict[str, dict[Row, list[float]]] = defaultdict(lambda: defaultdict(list))
    for weights in (options.weights, "random"):
        begun = time.perf_counter()
        for seed in range(options.seeds):
            if seed == 0 or weights == "random":
                backbone = load_backbone(weights=weights, seed=seed)
                frozen = Frozen(backbone, make_boundary(backbone, "conv5", backbone.usual_taps))
                forward = FastForward(frozen, Preprocess(IMAGE_SIZE), torch.device("cpu"))
                kept = {name: [rows_of(forward, part) for part in parts] for name, parts in sets.items()}
            for row in ROWS:
                name, reads, kind, labels = row
                rows = [part.last(CONV5) if reads == "conv5" else part for part in kept[name]]
                train_set, test_set = sets[name]
                test = Examples(rows[1], test_set.labels)
                found[weights][row].append(accuracy(rows[0], train_set, test, kind, labels, seed))
        print(f"{weights}: {time.perf_counter() - begun:.0f} s", flush=True)
    print(
        f"\n{'data set':<14} {'head reads':<12} {'head':<7} {'labels':<14}"
        f" {'He-initialised':>16} {'pre-trained':>17}   difference"
    )
    for row in ROWS:
        ours, theirs = found[options.weights][row], found["random"][row]
        gain = statistics.mean(ours) - statistics.mean(theirs)
        columns = [f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in (theirs, ours)]
        error = math.sqrt((statistics.variance(ours) + statistics.variance(theirs)) / options.seeds)
        labels = "all" if row[3] is None else f"{row[3]} per class"
        print(
            f"{row[0]:<14} {row[1]:<12} {row[2]:<7} {labels:<14} {columns[0]:>16} {columns[1]:>17}"
            f"   {gain:+.4f} ({gain / error:.0f} std. errors)"
        )


if __name__ == "__main__":
    main()
