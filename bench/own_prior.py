"""Does a network's closed-form head gain from the covariance prior on a folder of one's own images?

    python -m bench own_prior FOLDER [--model efficientnet-lite0] [--splits 6] [--train 0.6] [--seed 0]

FOLDER holds class folders. In each random stratified split a share `--train` of the images, or that many, is trained on
with `fit` (a tenth of it chooses the strength), and three tenths of all are tested. Prints the mean test accuracy with
and without the prior, and the paired difference with its standard error, for the last stage alone and for four stages.

About 5 minutes on 2 cores for 360 images.
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedShuffleSplit

from bench.common.options import make_parser, parse
from bench.common.runs import fit_in
from bench.common.tables import Table, paired_difference
from frostline import Splits, TrainConfig, from_folder
from frostline.models.registry import outline
from frostline.pipeline.rank import spread_stages


def main(arguments: Sequence[str]) -> None:
    parser = make_parser(__doc__, model="efficientnet-lite0", splits=6, train=0.6, seed=0)
    parser.add_argument("folder")
    options = parse(parser, arguments)
    data = from_folder(options.folder, test_fraction=0.0)
    choices = {"last stage": (), "four stages": spread_stages(outline(options.model))}
    share = options.train if options.train < 1 else int(options.train)
    found = defaultdict[tuple[str, str], list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seed, options.seed + options.splits):
            splitter = StratifiedShuffleSplit(1, test_size=0.3, train_size=share, random_state=seed)
            train, test = next(splitter.split(np.zeros(len(data.train)), data.train.labels))
            splits = Splits(data.name, data.train.subset(train), data.train.subset(test), data.source)
            for stages, taps in choices.items():
                for prior in ("none", "drawn"):
                    config = TrainConfig(data=data.name, model=options.model, taps=taps, head="ridge", prior=prior)
                    run = fit_in(folder, config, splits=splits, name=f"{seed}-{len(taps)}-{prior}")
                    found[stages, prior].append(run.metrics["test"]["accuracy"])
    table = Table("head reads:12", "none:>8", "drawn:>8", "difference:>20")
    for stages in choices:
        none, drawn = found[stages, "none"], found[stages, "drawn"]
        difference = paired_difference(drawn, none)
        table.row(stages, f"{statistics.mean(none):.3f}", f"{statistics.mean(drawn):.3f}", difference)
