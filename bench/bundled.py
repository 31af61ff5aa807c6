"""How much accuracy does pre-training on drawn images add, compared with He-initialized weights?

    python -m bench bundled [--seeds 3] [--weights bundled] [--images 60000] [--head linear|ridge]

Frozen AlexNet at 128 px and a linear head, trained step by step (linear: the default on many images) or in closed form
(ridge: the default on few, with its prior); Fashion-MNIST with all labels, 100 and 10 per class, scikit-learn's digits
and drawn-objects (objects that the pre-training never drew). Each seed draws the validation split, the labels and, for
He-initialized weights, the weights. Nothing is chosen here; each test split is read once per figure, at the end. Prints
mean and standard deviation over the seeds, by how many standard errors the two differ, and each seed's accuracy; the
same for the first three seeds alone, where there are more. --images N takes N training and N/6 test images of
Fashion-MNIST, for a trial; --head takes the rows with that head.

About 30 minutes on 2 cores.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bench.common.features import CONV5, Lazy, digits, draw_labels, frozen_alexnet, new_head, prior_examples
from bench.common.options import start
from bench.common.tables import Table, mean_and_deviation
from bench.common.timing import Stopwatch
from frostline.config import TrainConfig
from frostline.data.dataset import ImageDataset
from frostline.data.registry import load_dataset
from frostline.data.splits import limited
from frostline.pipeline.phases import PEAK_LR, recipe_of, usual_epochs
from frostline.training.examples import Examples
from frostline.training.ridge import solve
from frostline.training.trainer import measure, train

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


def accuracy(sets: Sequence[ImageDataset], features: Sequence[Lazy], prior: Examples, row: Row, seed: int) -> float:
    """Train a head on some labels, choose epoch or strength on a validation split, and test it."""
    (train_set, test_set), (train_features, test_features) = sets, features
    _, reads, kind, labels = row
    width = CONV5 if reads == "conv5" else None
    part, val = (train_features.examples(rows, width) for rows in draw_labels(train_set, labels, seed))
    head = new_head(kind, part, len(train_set.class_names), seed)
    if kind == "ridge":
        solve(head, part, val, prior=Examples(prior.rows.last(width), prior.labels))
    else:
        config = TrainConfig(data="fashion-mnist", head="linear")
        epochs = usual_epochs(len(part), config.batch_size, head_only=True)
        changes = {"epochs": epochs, "patience": epochs, "seed": seed, "lr": PEAK_LR["adamw", "linear"]}
        train(head, part, val, recipe_of(config.model_copy(update=changes)))
    return measure(head, test_features.examples(np.arange(len(test_set)), width))[1]


def summarize(found: dict[str, dict[Row, list[float]]], ours: str, seeds: int) -> None:
    """Print a table of the first seeds."""
    print(f"\n{seeds} seeds")
    table = Table("data set:14", "head reads:12", "head:7", "labels:14", "He-initialized:15", "pre-trained:15",
                  "difference:10")  # fmt: skip
    for row in found[ours]:
        both = [found[weights][row][:seeds] for weights in ("random", ours)]
        gain = statistics.mean(both[1]) - statistics.mean(both[0])
        difference = f"{gain:+.4f}"
        if seeds > 1:
            error = math.sqrt(sum(map(statistics.variance, both)) / seeds)
            difference += f" ({gain / error:.0f} std. errors)"
        labels = "all" if row[3] is None else f"{row[3]} per class"
        table.row(*row[:3], labels, *map(mean_and_deviation, both), difference)


def main(arguments: Sequence[str]) -> None:
    head = {"choices": sorted({row[2] for row in ROWS})}
    options = start(__doc__, arguments, seeds=3, weights="bundled", images=60_000, head=head)
    wanted = [row for row in ROWS if options.head in (None, row[2])]
    sets = {name: parts for name, parts in data_sets(options.images).items() if name in {row[0] for row in wanted}}
    found: dict[str, dict[Row, list[float]]] = defaultdict(lambda: defaultdict(list))
    for weights in (options.weights, "random"):
        with Stopwatch() as watch:
            for seed in range(options.seeds):
                if seed == 0 or weights == "random":
                    forward = frozen_alexnet(weights, seed=seed)
                    features = {name: [Lazy(forward, part) for part in parts] for name, parts in sets.items()}
                    prior = prior_examples(forward)
                for row in wanted:
                    found[weights][row].append(accuracy(sets[row[0]], features[row[0]], prior, row, seed))
        print(f"{weights}: {watch.seconds:.0f} s", flush=True)
    for weights, rows in found.items():
        for row, values in rows.items():
            print(weights, *row, " ".join(f"{value:.4f}" for value in values))
    for seeds in sorted({min(3, options.seeds), options.seeds}):
        summarize(found, options.weights, seeds)
