"""Which head do few labels want: trained step by step, or solved in closed form? Validation alone decides it here.

    python bench/few_labels.py [--weights bundled] [--seeds 4] [--epochs N ...]

Frozen AlexNet at 128 pixels and the default taps; 5 to 500 labels per class of Fashion-MNIST's training file, drawn as
a run draws them. A tenth of that file is held out. In the left half of the table all of it (6,000 pictures) chooses the
epoch, or the strength of the closed form, and judges. In the right half a ninth as many pictures as are trained on
choose, as they do for one who has no more labels, and 4,000 others judge. Prints mean accuracies over the seeds and the
paired difference with its standard error. --epochs adds heads that are trained for so long (the usual number leaves off
when validation has not been better for a quarter of the epochs). No test split is read.
"""

import argparse
import math
from collections.abc import Sequence

import numpy as np
import torch
from frostline.runs.choose import settle
from frostline.runs.phases import recipe_of

from bundled import IMAGE_SIZE, Computed, drawn
from common import machine, rows_of
from frostline.activations.forward import FastForward
from frostline.config import TrainConfig
from frostline.images.drawn.dataset import load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.networks.boundary import Boundary, Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples
from frostline.training.loop import measure, moments, train
from frostline.training.ridge import solve

LABELS = (5, 10, 20, 50, 100, 200, 500)
JUDGES = 4_000


def trained(config: TrainConfig, boundary: Boundary, part: Examples, val: Examples, prior: Examples) -> Head:
    """Train or solve a head as a run does."""
    config = settle(config, boundary, len(part))
    head = Head(HeadSpec(config.head, math.prod(part.rows.shape), 10))
    head.standardise(*moments(torch.nn.Sequential(), part, config.seed))
    if config.head == "ridge":
        solve(head, part, val, prior=prior, quiet=True)
    else:
        train(head, part, val, recipe_of(config), quiet=True)
    return head


def line(name: str, both: Sequence[Sequence[Sequence[float]]]) -> str:
    """Return a line of the table: for both kinds of validation the accuracies of each seed, and of ridge's."""
    columns = []
    for found, ridge in both:
        gains = np.subtract(ridge, found)
        error = gains.std(ddof=1) / len(gains) ** 0.5
        columns.append(f"{np.mean(found):.4f}  {np.mean(ridge):.4f}  {gains.mean():+.4f} ± {error:.4f}")
    return f"{name:<32} " + "    ".join(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, nargs="*", default=[])
    options = parser.parse_args()
    print(machine())
    data, backbone = load_dataset("fashion-mnist").train, load_backbone(weights=options.weights)
    boundary = make_boundary(backbone, "conv5", backbone.usual_taps)
    forward = FastForward(Frozen(backbone, boundary), Preprocess(IMAGE_SIZE), torch.device("cpu"))
    kept, drawn_set = Computed(forward, data), load_prior()
    prior = Examples(rows_of(forward, drawn_set), drawn_set.labels)
    print(f"{'':<32} {'6,000 pictures choose':<39}    a ninth of the labels chooses")
    print(
        f"{'labels per class, trained for':<32} " + "    ".join(["linear  ridge   difference       "] * 2), flush=True
    )
    for labels in LABELS:
        heads = {f"{labels:>4}, as usual": {"head": "linear"}}
        heads |= {f"{labels:>4}, {n} epochs": {"head": "linear", "epochs": n, "patience": n} for n in options.epochs}
        found: dict[str, list[list[float]]] = {name: [[], []] for name in ["ridge", *heads]}
        for seed in range(options.seeds):
            chosen, held_out = drawn(data, labels, seed)
            part = Examples(kept.part(chosen), data.labels[chosen])
            shuffled = np.random.default_rng(seed).permutation(held_out)
            few, judges = shuffled[: max(10, len(chosen) // 9)], shuffled[-JUDGES:]
            for number, (choose, judge) in enumerate([(held_out, held_out), (few, judges)]):
                val, judged = (Examples(kept.part(rows), data.labels[rows]) for rows in (choose, judge))
                for name, settings in [("ridge", {"head": "ridge"}), *heads.items()]:
                    config = TrainConfig(**{"data": "fashion-mnist", "seed": seed, **settings})
                    head = trained(config, boundary, part, val, prior)
                    found[name][number].append(measure(head, judged)[1])
        for name in heads:
            print(line(name, [(found[name][number], found["ridge"][number]) for number in (0, 1)]), flush=True)


if __name__ == "__main__":
    main()
