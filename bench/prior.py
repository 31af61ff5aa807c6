"""What is it worth to know beforehand how pictures of one object vary? The closed-form head with and without.

    python bench/prior.py [--data fashion-mnist] [--weights bundled] [--reads taps] [--seeds 12] [--labels 5 10 ...]

Frozen AlexNet at 128 pixels; some labels per class of the training part of fashion-mnist, digits (scikit-learn's) or
drawn-objects. Of the part that is held out (6,000 pictures of fashion-mnist, two fifths of the others) two thirds
judge. Of its other third a ninth as many as are trained on choose the strength (ten at least), as they do for one who
has no more labels, or all. Printed is the mean accuracy without a prior, and what each prior adds, with its standard
error over the seeds: the one in use, others from more or fewer drawn pictures and with another floor (FLOOR in
`frostline.training.within`), and choosing between none and the one in use by the rule that chooses the strength.
No test split is read.
"""

import argparse

import numpy as np
import torch

from bundled import CONV5, IMAGE_SIZE, Computed, digits
from common import machine, rows_of
from frostline.activations.forward import FastForward
from frostline.images.dataset import ImageDataset
from frostline.images.drawn.dataset import PRIOR_OBJECTS, PRIOR_PICTURES, load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.images.splits import per_class, train_val
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples
from frostline.training.within import FLOOR
from strength import Tried, one_behind, try_all

NONE, CHOSEN = "none", "none or the one in use, by validation"
Prior = tuple[int, int, float]  # objects, pictures of each, floor
IN_USE = (PRIOR_OBJECTS, PRIOR_PICTURES, FLOOR)
OTHERS = [(*IN_USE[:2], floor) for floor in (5.0, 2.0, 1.0, 0.25, 0.1)]
OTHERS += [(25, 40, FLOOR), (250, 4, FLOOR), (25, 10, FLOOR), (150, 20, FLOOR)]
HELD_OUT = {"fashion-mnist": 0.1}


def training_part(name: str) -> ImageDataset:
    return digits()[0] if name == "digits" else load_dataset(name).train


def named(prior: Prior) -> str:
    objects, pictures, floor = prior
    return f"{objects} objects x {pictures} pictures, floor {floor:g}" + " (in use)" * (prior == IN_USE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist", choices=["fashion-mnist", "digits", "drawn-objects"])
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--reads", default="taps", choices=["taps", "conv5"])
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--labels", type=int, nargs="*", default=[5, 10, 20, 50, 100, 200])
    options = parser.parse_args()
    print(machine(), vars(options))
    width = CONV5 if options.reads == "conv5" else None
    data, backbone = training_part(options.data), load_backbone(weights=options.weights)
    boundary = make_boundary(backbone, "conv5", backbone.usual_taps)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(IMAGE_SIZE), torch.device("cpu"))
    kept = Computed(forward, data)
    drawn = {size: load_prior(*size) for size in {prior[:2] for prior in (IN_USE, *OTHERS)}}
    priors = {size: Examples(rows_of(forward, part).last(width), part.labels) for size, part in drawn.items()}
    for labels in options.labels:
        found: dict[tuple[str, str], list[float]] = {}
        for seed in range(options.seeds):
            rest, held_out = train_val(data.labels, HELD_OUT.get(options.data, 0.4), seed)
            chosen = rest[per_class(data.labels[rest], labels, seed)]
            shuffled = np.random.default_rng(seed).permutation(held_out)
            choose, judge = np.split(shuffled, [len(shuffled) // 3])
            few = max(10, len(chosen) // 9)
            for count in (few, len(choose)):
                choosers = f"{few} choose" if count == few else f"{len(choose):,} choose"
                parts = [
                    Examples(kept.part(rows).last(width), data.labels[rows]) for rows in (chosen, choose[:count], judge)
                ]
                tried: dict[str, list[Tried]] = {NONE: try_all(*parts)}
                for prior in (IN_USE, *OTHERS):
                    tried[named(prior)] = try_all(*parts, prior=priors[prior[:2]], floor=prior[2])
                tried[CHOSEN] = tried[NONE] + tried[named(IN_USE)]
                for name, several in tried.items():
                    found.setdefault((choosers, name), []).append(one_behind(several).accuracy)
        print(f"\n{labels} labels per class")
        for (choosers, name), values in found.items():
            gains = np.subtract(values, found[choosers, NONE])
            error = gains.std(ddof=1) / len(gains) ** 0.5
            print(f"  {choosers:<14} {name:<52} {np.mean(values):.4f}  {gains.mean():+.4f} ± {error:.4f}", flush=True)


if __name__ == "__main__":
    main()
