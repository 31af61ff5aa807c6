"""Does `--model auto` choose the network that is best on test images it has not seen?

    python -m bench rank FOLDER [--splits 10] [--networks NAME,...] [--image-size N]

FOLDER holds class folders. In each of `--splits` random stratified splits, the networks are ranked on four fifths of
the images as `--model auto` ranks them, and every candidate is trained on these with `fit` and tested on the other
fifth. Prints the accuracies, what auto chose, and in how many splits that was the best candidate or within one
standard error of it. Features are computed once.

About 10 minutes on 2 cores for 300 images.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from bench.common.options import make_parser, parse
from bench.common.runs import fit_in
from bench.common.tables import Table
from frostline import Splits, TrainConfig, from_folder
from frostline.pipeline.context import make_context
from frostline.pipeline.rank import RankedNetwork, best_value, candidates, rank_networks, sample_size


def label(ranked: RankedNetwork) -> str:
    return f"{ranked.model} {'/'.join(ranked.taps) or 'last'}"


def one_split(data: Splits, seed: int, options: argparse.Namespace, folder: str) -> tuple[dict[str, float], str]:
    """Return each candidate's test accuracy, and the one that auto chooses."""
    splitter = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed)
    train, test = next(splitter.split(np.zeros(len(data.train)), data.train.labels))
    splits = Splits(data.name, data.train.subset(train), data.train.subset(test), data.source)
    context = make_context("cpu", f"{folder}/cache")
    names = options.networks.split(",") if options.networks else candidates(context)
    ranked = rank_networks(splits.train, names, context, count=sample_size(splits.train), image_size=options.image_size)
    accuracies = {}
    for one in ranked:
        config = TrainConfig(
            data=data.name, model=one.model, weights=one.weights, taps=one.taps, image_size=one.image_size, prior="none"
        )  # fmt: skip
        run = fit_in(folder, config, splits=splits, name=f"{seed}-{len(accuracies)}")
        accuracies[label(one)] = run.metrics["test"]["accuracy"]
    return accuracies, label(best_value(ranked))


def main(arguments: Sequence[str]) -> None:
    parser = make_parser(__doc__, splits=10, networks="", image_size={"type": int, "default": None})
    parser.add_argument("folder")
    options = parse(parser, arguments)
    data = from_folder(options.folder, test_fraction=0.0)
    found, chosen, hits = defaultdict[str, list[float]](list), list[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.splits):
            accuracies, choice = one_split(data, seed, options, folder)
            best, images = max(accuracies.values()), round(0.2 * len(data.train))
            hits += accuracies[choice] >= best - (best * (1 - best) / images) ** 0.5
            chosen.append(choice)
            for name, accuracy in accuracies.items():
                found[name].append(accuracy)
            print(f"split {seed}: auto chose {choice}, {accuracies[choice]:.3f}; best {best:.3f}", flush=True)
    table = Table("candidate:52", "test accuracy, mean:>20", "chosen:>7")
    for name, values in sorted(found.items(), key=lambda pair: -statistics.mean(pair[1])):
        table.row(name, f"{statistics.mean(values):.3f}", chosen.count(name))
    print(f"best or within one standard error of the best: {hits} of {options.splits}")
