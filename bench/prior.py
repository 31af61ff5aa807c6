"""How much accuracy does the closed-form head gain from its covariance prior?

    python -m bench prior [--data NAME] [--weights bundled] [--reads taps|conv5] [--seeds 12] [--labels 5 10 ...]

Frozen AlexNet at 128 px; some labels per class of the training part of fashion-mnist, digits (scikit-learn's) or
drawn-objects. Of the part that is held out (6,000 images of fashion-mnist, two fifths of the others) two thirds measure
the accuracy. Of its other third a ninth as many as are trained on choose the strength (ten at least), as for a user who
has no more labels, or all. Prints the mean accuracy without a prior, and the gain from each prior with its standard
error over the seeds: the one in use, others from more or fewer drawn images and with another floor (PRIOR_FLOOR in
`frostline.training.ridge`), and choosing between none and the one in use by the rule that chooses the
strength. No test split is read.

About 30 minutes on 2 cores.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bench.common.features import CONV5, Lazy, digits, frozen_alexnet, prior_examples
from bench.common.options import start
from bench.common.tables import Table, paired_difference
from bench.strength import Tried, one_behind, try_all
from frostline.data.dataset import ImageDataset
from frostline.data.drawn_objects import PRIOR_IMAGES, PRIOR_OBJECTS, load_prior
from frostline.data.registry import load_dataset
from frostline.data.splits import per_class, train_val
from frostline.training.ridge import PRIOR_FLOOR

NONE, CHOSEN = "none", "none or the one in use, chosen on validation"
Prior = tuple[int, int, float]  # objects, images of each, floor
IN_USE = (PRIOR_OBJECTS, PRIOR_IMAGES, PRIOR_FLOOR)
OTHERS = [(*IN_USE[:2], floor) for floor in (5.0, 2.0, 1.0, 0.25, 0.1)]
OTHERS += [(25, 40, PRIOR_FLOOR), (250, 4, PRIOR_FLOOR), (25, 10, PRIOR_FLOOR), (150, 20, PRIOR_FLOOR)]
HELD_OUT = {"fashion-mnist": 0.1}


def training_part(name: str) -> ImageDataset:
    return digits()[0] if name == "digits" else load_dataset(name).train


def named(prior: Prior) -> str:
    objects, images, floor = prior
    return f"{objects} objects x {images} images, floor {floor:g}" + " (in use)" * (prior == IN_USE)


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__, arguments, data={"default": "fashion-mnist", "choices": ["fashion-mnist", "digits", "drawn-objects"]},
        weights="bundled", reads={"default": "taps", "choices": ["taps", "conv5"]}, seeds=12,
        labels={"type": int, "nargs": "*", "default": [5, 10, 20, 50, 100, 200], "metavar": "N"},
    )  # fmt: skip
    width = CONV5 if options.reads == "conv5" else None
    data, forward = training_part(options.data), frozen_alexnet(options.weights)
    features = Lazy(forward, data)
    sizes = {prior[:2] for prior in (IN_USE, *OTHERS)}
    priors = {size: prior_examples(forward, width, load_prior(*size)) for size in sizes}
    for labels in options.labels:
        found = defaultdict[tuple[str, str], list[float]](list)
        for seed in range(options.seeds):
            rest, held_out = train_val(data.labels, HELD_OUT.get(options.data, 0.4), seed)
            chosen = rest[per_class(data.labels[rest], labels, seed)]
            shuffled = np.random.default_rng(seed).permutation(held_out)
            choose, measured = np.split(shuffled, [len(shuffled) // 3])
            for count in (max(10, len(chosen) // 9), len(choose)):
                parts = [features.examples(rows, width) for rows in (chosen, choose[:count], measured)]
                tried: dict[str, list[Tried]] = {NONE: try_all(*parts)}
                for prior in (IN_USE, *OTHERS):
                    tried[named(prior)] = try_all(*parts, prior=priors[prior[:2]], floor=prior[2])
                tried[CHOSEN] = tried[NONE] + tried[named(IN_USE)]
                for name, several in tried.items():
                    found[f"{count:,} images", name].append(one_behind(several).accuracy)
        print(f"\n{labels} labels per class")
        table = Table("chosen by:14", "prior:52", "val accuracy:6", "difference:16")
        for (choosers, name), values in found.items():
            table.row(choosers, name, f"{np.mean(values):.4f}", paired_difference(values, found[choosers, NONE]))
