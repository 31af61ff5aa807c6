"""Which stages should the head read, and averaged to which grid?

    python -m bench taps [--weights random] [--image-size 128] [--images 4000] [--seeds 3]

Trains the default linear head on `--images` images of Fashion-MNIST and validates on as many. Prints for each choice
the features of an image, the validation accuracy (mean and standard deviation over seeds) and the head's seconds. Each
seed draws another split and, for random weights, other weights. The test split is not read.

About 10 minutes on 2 cores.
"""

import statistics
from collections.abc import Sequence

import frostline.models.boundary
from bench.common.features import frozen_alexnet, new_head, rows_of
from bench.common.machine import CONVS
from bench.common.options import start
from bench.common.tables import Table, mean_and_deviation
from bench.common.timing import Stopwatch
from frostline.data.fashion_mnist import load
from frostline.data.splits import stratified
from frostline.pipeline.phases import PEAK_LR
from frostline.training.examples import Examples
from frostline.training.trainer import Recipe, train

CHOICES: list[tuple[tuple[str, ...], int]] = [
    ((), 0),
    (("conv3", "conv4", "conv5"), 3),
    (("conv1", "conv2", "conv3", "conv5"), 3),
    (("conv2", "conv3", "conv5"), 4),
    (CONVS, 2),
    (CONVS, 3),
    (CONVS, 4),
    (CONVS, 6),
]


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, weights="random", image_size=128, images=4_000, seeds=3)
    data = load().train
    table = Table("stages:30", "grid:>4", "features:>8", "val accuracy:15", "head s:>6")
    for taps, grid in CHOICES:
        frostline.models.boundary.TAP_GRID = grid or 1
        accuracies, seconds = [], []
        for seed in range(options.seeds):
            chosen, rest = stratified(data.labels, options.images, seed)
            held_out = rest[stratified(data.labels[rest], options.images, seed)[0]]
            forward = frozen_alexnet(options.weights, options.image_size, taps, seed=seed)
            parts = [Examples(rows_of(forward, data.subset(part)), data.labels[part]) for part in (chosen, held_out)]
            head = new_head("linear", parts[0], seed=seed)
            recipe = Recipe(epochs=12, batch_size=256, lr=PEAK_LR["adamw", "linear"], patience=12, seed=seed)
            with Stopwatch() as watch:
                done = train(head, *parts, recipe)
            accuracies.append(done.history[done.best_epoch - 1].val_accuracy)
            seconds.append(watch.seconds)
        table.row(
            ",".join(taps) or "conv5 as it is", grid or "-", f"{head.spec.features:,}", mean_and_deviation(accuracies),
            f"{statistics.mean(seconds):.1f}",
        )  # fmt: skip
