"""How accurate is a frozen network on Fashion-MNIST, with all labels, 100 and 10 per class?

    python -m bench networks [--networks efficientnet-lite0,alexnet] [--sizes 112,128] [--seeds 3] [--images 12000]

First the image size and the stages that the head reads (the last, a few, or all blocks and the head) are chosen by
validation accuracy: trainings on `--images` images of the training file, without a test split. Then each network is
trained as chosen on all labels, 100 and 10 per class, the default head for each, and tested; mean and standard
deviation over the seeds, which draw the validation split, the labels and the order. All stages stay frozen.

About 40 minutes on 2 cores with OpenVINO.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence

import numpy as np

from bench.common.options import start
from bench.common.runs import fit_in
from bench.common.tables import Table, mean_and_deviation
from frostline import Splits, TrainConfig, load_dataset
from frostline.data.splits import limited
from frostline.models.registry import outline
from frostline.pipeline.rank import spread_stages

Choice = tuple[int, tuple[str, ...]]  # image size, taps


def choices(network: str, sizes: Sequence[int]) -> list[Choice]:
    """Return what is tried: every size with the last stage, with a few stages, and with all but the first."""
    shape = outline(network)
    names = shape.stage_names[: shape.position(shape.feature_stage) + 1]
    few = shape.usual_taps or spread_stages(shape)
    return [(size, taps) for size in sizes for taps in dict.fromkeys([(), few, tuple(names[1:])])]


def choose(network: str, options: argparse.Namespace, folder: str) -> Choice:
    """Return the size and the taps with the best validation accuracy on part of the training file."""
    data = load_dataset("fashion-mnist")
    train = data.train.subset(limited(data.train.labels, options.images, seed=0))
    part = Splits(data.name, train, data.test.subset(np.empty(0, np.int64)), data.source)
    table, found = Table("network:20", "size:>4", "head reads:60", "validation accuracy:>19"), dict[Choice, float]()
    for size, taps in choices(network, [int(size) for size in options.sizes.split(",")]):
        config = TrainConfig(data=data.name, model=network, image_size=size, taps=taps)
        run = fit_in(folder, config, splits=part, name=f"choose-{network}-{len(found)}", verbose=0)
        found[size, taps] = run.metrics["val"]["accuracy"]
        table.row(network, size, ",".join(taps) or "last stage", f"{found[size, taps]:.4f}")
    return max(found, key=lambda choice: found[choice])


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__, arguments, networks="efficientnet-lite0,alexnet", sizes="112,128", seeds=3, images=12_000
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        chosen = {network: choose(network, options, folder) for network in options.networks.split(",")}
        columns = ("validation accuracy:19", "test accuracy:19", "images/s:>8")
        table = Table("network:20", "size:>4", "labels per class:>16", *columns)
        for network, (size, taps) in chosen.items():
            for labels in (None, 100, 10):
                runs = []
                for seed in range(options.seeds):
                    config = TrainConfig(
                        data="fashion-mnist", model=network, image_size=size, taps=taps, seed=seed,
                        labels_per_class=labels,
                    )  # fmt: skip
                    runs.append(fit_in(folder, config, name=f"{network}-{labels}-{seed}", verbose=0).metrics)
                accuracies = {
                    split: mean_and_deviation([run[split]["accuracy"] for run in runs]) for split in ("val", "test")
                }
                rate = statistics.median(run["frozen_pass"]["images_per_second"] or 0 for run in runs[:1])
                table.row(network, size, labels or "all", accuracies["val"], accuracies["test"], f"{rate:.0f}")
