"""What is the pre-training on drawn pictures worth? The weights that ship with Frostline against He-initialised ones.

    python bench/bundled.py [--seeds 3] [--weights bundled] [--images 60000] [--head NAME]

Frozen AlexNet at 128 pixels and a linear head, trained step by step (linear: the default on many images) or solved
(ridge: the default on few, with its prior); Fashion-MNIST with all labels, 100 and 10 per class, scikit-learn's digits
and drawn-objects (objects that the pre-training never drew). Each seed draws the validation split, the labels and, for
He-initialised weights, the weights. Nothing is chosen here; each test split is read once per figure, at the end. Prints
mean and standard deviation over the seeds, by how many standard errors the two differ, and what each seed had: the
same for the first three seeds alone, where there are more.
--images N takes N training and N/6 test images of Fashion-MNIST, for a trial; --head takes the rows with that head.
"""

import argparse
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from frostline.runs.choose import usual_epochs
from frostline.runs.phases import recipe_of

from common import InMemory, machine, rows_of
from frostline.activations.forward import FastForward
from frostline.config import TrainConfig
from frostline.images.dataset import ImageDataset
from frostline.images.drawn.dataset import load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.images.splits import limited, per_class, train_val
from frostline.images.views import THE_PICTURE, View
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
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
    ("fashion-mnist", "pooled taps", "ridge", 100),
    ("fashion-mnist", "pooled taps", "ridge", 10),
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


def drawn(train_set: ImageDataset, labels: int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which pictures are trained on, and which are held out for validation."""
    chosen, held_out = train_val(train_set.labels, TrainConfig(data="fashion-mnist").val_fraction, seed)
    if labels is not None:
        chosen = chosen[per_class(train_set.labels[chosen], labels, seed)]
    return chosen, held_out


class Computed:
    """Rows of a view of a data set, computed when they are first asked for."""

    def __init__(self, forward: FastForward, images: ImageDataset, view: View = THE_PICTURE) -> None:
        self._forward, self._images, self._view = forward, images, view
        self._there = np.zeros(len(images), bool)
        self._rows: torch.Tensor | None = None

    def part(self, positions: np.ndarray) -> InMemory:
        """Return some rows."""
        missing = np.unique(positions[~self._there[positions]])
        if len(missing):
            rows = rows_of(self._forward, self._images.subset(missing), self._view).rows
            if self._rows is None:
                self._rows = rows.new_empty(len(self._images), rows.shape[1])
            self._rows[torch.from_numpy(missing)] = rows
            self._there[missing] = True
        assert self._rows is not None
        return InMemory(self._rows[torch.from_numpy(positions)])


def accuracy(
    kept: Sequence[Computed],
    sets: Sequence[ImageDataset],
    prior: Examples,
    width: int | None,
    kind: str,
    labels: int | None,
    seed: int,
) -> float:
    """Train a head on some labels, choose epoch or strength on a validation split, and test it."""
    config = TrainConfig(data="fashion-mnist", head="linear")
    (train_set, test_set), (train_rows, test_rows) = sets, kept
    chosen, held_out = drawn(train_set, labels, seed)
    parts = [Examples(train_rows.part(rows).last(width), train_set.labels[rows]) for rows in (chosen, held_out)]
    test = Examples(test_rows.part(np.arange(len(test_set))).last(width), test_set.labels)
    head = Head(HeadSpec(kind, math.prod(test.rows.shape), len(train_set.class_names)))
    head.standardise(*moments(torch.nn.Sequential(), parts[0], seed))
    if kind == "ridge":
        solve(head, *parts, prior=prior)
        return measure(head, test)[1]
    epochs = usual_epochs(len(chosen), config.batch_size, head_only=True)
    recipe = recipe_of(config.model_copy(update={"epochs": epochs, "patience": epochs, "seed": seed}))
    train(head, parts[0], parts[1], recipe)
    return measure(head, test)[1]


def table(found: dict[str, dict[Row, list[float]]], ours: str, seeds: int) -> None:
    """Print what the first seeds had."""
    print(
        f"\n{seeds} seeds\n{'data set':<14} {'head reads':<12} {'head':<7} {'labels':<14}"
        f" {'He-initialised':>16} {'pre-trained':>17}   difference"
    )
    for row in found[ours]:
        both = [found[weights][row][:seeds] for weights in ("random", ours)]
        columns = [f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}" for values in both]
        gain = statistics.mean(both[1]) - statistics.mean(both[0])
        error = math.sqrt(sum(map(statistics.variance, both)) / seeds)
        labels = "all" if row[3] is None else f"{row[3]} per class"
        print(
            f"{row[0]:<14} {row[1]:<12} {row[2]:<7} {labels:<14} {columns[0]:>16} {columns[1]:>17}"
            f"   {gain:+.4f} ({gain / error:.0f} std. errors)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--head", choices=sorted({row[2] for row in ROWS}))
    options = parser.parse_args()
    wanted = [row for row in ROWS if options.head in (None, row[2])]
    print(machine())
    sets = {name: parts for name, parts in data_sets(options.images).items() if name in {row[0] for row in wanted}}
    found: dict[str, dict[Row, list[float]]] = defaultdict(lambda: defaultdict(list))
    for weights in (options.weights, "random"):
        begun = time.perf_counter()
        for seed in range(options.seeds):
            if seed == 0 or weights == "random":
                backbone = load_backbone(weights=weights, seed=seed)
                frozen = Frozen(backbone, make_boundary(backbone, "conv5", backbone.usual_taps))
                forward = FastForward(frozen, Preprocess(IMAGE_SIZE), torch.device("cpu"))
                kept = {name: [Computed(forward, part) for part in parts] for name, parts in sets.items()}
                rows, objects = rows_of(forward, load_prior()), load_prior().labels
            for row in wanted:
                name, reads, kind, labels = row
                width = CONV5 if reads == "conv5" else None
                prior = Examples(rows.last(width), objects)
                found[weights][row].append(accuracy(kept[name], sets[name], prior, width, kind, labels, seed))
        print(f"{weights}: {time.perf_counter() - begun:.0f} s", flush=True)
    for weights, rows_found in found.items():
        for row, values in rows_found.items():
            print(weights, *row, " ".join(f"{value:.4f}" for value in values))
    for seeds in sorted({min(3, options.seeds), options.seeds}):
        table(found, options.weights, seeds)


if __name__ == "__main__":
    main()
