"""Which head suits few labels: trained step by step, or in closed form?

    python -m bench few_labels [--weights bundled] [--seeds 4] [--labels 5 10 ...] [--epochs N ...] [--images 6000]

Frozen AlexNet at 128 px and the default taps; 5 to 500 labels per class of Fashion-MNIST's training file, drawn as a
run draws them. A tenth of that file is held out. In the left half of the table all of it (at most `--images` images)
chooses the epoch, or the strength of the closed form, and measures the accuracy. In the right half a ninth as many
images as are trained on choose (ten at least), as for a user who has no more labels, and 4,000 others measure. Prints
mean accuracies over the seeds and the paired difference with its standard error. --epochs adds heads that are trained
for so many epochs (the default stops when validation has not improved for a quarter of the epochs). No test split is
read.

About 20 minutes on 2 cores.
"""

from collections.abc import Sequence

import numpy as np

from bench.common.features import Lazy, draw_labels, frozen_alexnet, new_head, prior_examples
from bench.common.options import start
from bench.common.tables import Table, paired_difference
from frostline.config import TrainConfig
from frostline.data.registry import load_dataset
from frostline.models.boundary import Boundary
from frostline.models.heads import Head
from frostline.pipeline.phases import recipe_of, with_defaults
from frostline.training.examples import Examples
from frostline.training.ridge import solve
from frostline.training.trainer import measure, train

LABELS = [5, 10, 20, 50, 100, 200, 500]
MEASURED = 4_000


def trained(config: TrainConfig, boundary: Boundary, part: Examples, val: Examples, prior: Examples) -> Head:
    """Train a head as a run does."""
    config = with_defaults(config, boundary, len(part))
    head = new_head(config.head, part, seed=config.seed)
    if config.head == "ridge":
        solve(head, part, val, prior=prior, quiet=True)
    else:
        train(head, part, val, recipe_of(config), quiet=True)
    return head


def main(arguments: Sequence[str]) -> None:
    numbers = {"type": int, "nargs": "*", "metavar": "N"}
    options = start(
        __doc__, arguments, weights="bundled", seeds=4, labels={**numbers, "default": LABELS},
        epochs={**numbers, "default": []}, images=6_000,
    )  # fmt: skip
    data, forward = load_dataset("fashion-mnist").train, frozen_alexnet(options.weights)
    boundary, features, prior = forward.frozen.boundary, Lazy(forward, data), prior_examples(forward)
    print(f"left: {options.images:,} images choose; right: a ninth of the labels chooses")
    columns = ("linear:6", "ridge:6", "difference:16")
    table = Table("labels per class, epochs:26", *columns, *columns)
    for labels in options.labels:
        heads = {f"{labels:>4}, default": {"head": "linear"}}
        heads |= {f"{labels:>4}, {n} epochs": {"head": "linear", "epochs": n, "patience": n} for n in options.epochs}
        found: dict[str, list[list[float]]] = {name: [[], []] for name in ["ridge", *heads]}
        for seed in range(options.seeds):
            chosen, held_out = draw_labels(data, labels, seed)
            held_out = held_out[: options.images]
            part = features.examples(chosen)
            shuffled = np.random.default_rng(seed).permutation(held_out)
            few, others = shuffled[: max(10, len(chosen) // 9)], shuffled[-MEASURED:]
            for number, rows in enumerate([(held_out, held_out), (few, others)]):
                val, measured = map(features.examples, rows)
                for name, settings in [("ridge", {"head": "ridge"}), *heads.items()]:
                    config = TrainConfig(**{"data": "fashion-mnist", "seed": seed, **settings})
                    head = trained(config, boundary, part, val, prior)
                    found[name][number].append(measure(head, measured)[1])
        for name in heads:
            cells = []
            for linear, ridge in zip(found[name], found["ridge"], strict=True):
                cells += [f"{np.mean(linear):.4f}", f"{np.mean(ridge):.4f}", paired_difference(ridge, linear)]
            table.row(name, *cells)
