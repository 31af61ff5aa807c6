"""Does the closed-form head gain by views of few labels? Validation alone; the weights that ship with Frostline.

    python bench/ridge_views.py [--seeds 10]

Frozen AlexNet at 128 pixels, conv5, 10 and 100 labels per class of Fashion-MNIST's training file, drawn as
`bench/bundled.py` draws them: the ridge head as it is; from eight views of each picture, with the probabilities of a
validation picture and its mirror image averaged; and from eight views that are not mirrored, asked of the picture
alone. Prints mean accuracies on the validation split (6,000 pictures of each seed), and the paired differences to the
head without views with their standard errors. No test split is read.
"""

import argparse
import statistics
from collections import defaultdict

import numpy as np
import torch
from frostline.runs.learn import probabilities

from bundled import CONV5, IMAGE_SIZE, Computed, drawn
from common import machine, rows_of
from frostline.activations.forward import FastForward
from frostline.images.dataset import ImageDataset
from frostline.images.drawn.dataset import load_prior
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.images.views import Augment, View
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.runs.predict import tta_views
from frostline.training.examples import Examples
from frostline.training.loop import moments
from frostline.training.ridge import solve

LABELS, VIEWS = (10, 100), 8


def solved(train: Examples, val: Examples, prior: Examples) -> tuple[Head, float]:
    """Return a ridge head and its accuracy on validation."""
    head = Head(HeadSpec("ridge", CONV5, 10))
    head.standardise(*moments(torch.nn.Sequential(), train, 0))
    return head, solve(head, train, val, prior=prior).val_accuracy


def viewed(forward: FastForward, images: ImageDataset, train: Examples, seed: int, augment: Augment) -> Examples:
    """Return the training pictures with further views of them."""
    views = (rows_of(forward, images, View(number, seed, augment)).last(CONV5) for number in range(1, VIEWS))
    return Examples(train.rows, train.labels, tuple(views))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    print(machine())
    data, backbone = load_dataset("fashion-mnist").train, load_backbone(weights="bundled")
    frozen = Frozen(backbone, make_boundary(backbone, "conv5", backbone.usual_taps))
    forward = FastForward(frozen, Preprocess(IMAGE_SIZE), torch.device("cpu"))
    drawn_set = load_prior()
    prior = Examples(rows_of(forward, drawn_set).last(CONV5), drawn_set.labels)
    kept, mirrored = Computed(forward, data), Computed(forward, data, tta_views(2)[1])
    found = defaultdict[tuple[int, str], list[float]](list)
    for seed in range(options.seeds):
        for labels in LABELS:
            chosen, held_out = drawn(data, labels, seed)
            truth = data.labels[held_out]
            val, mirror = (Examples(rows.part(held_out).last(CONV5), truth) for rows in (kept, mirrored))
            train = Examples(kept.part(chosen).last(CONV5), data.labels[chosen])
            found[labels, "none"].append(solved(train, val, prior)[1])
            part = data.subset(chosen)
            found[labels, "no mirror"].append(
                solved(viewed(forward, part, train, seed, Augment(flip=0)), val, prior)[1]
            )
            head, _ = solved(viewed(forward, part, train, seed, Augment()), val, prior)
            seen = probabilities(head, val) + probabilities(head, mirror)
            found[labels, "mirror"].append(float((seen.argmax(1) == truth).mean()))
    for labels in LABELS:
        plain = found[labels, "none"]
        print(f"{labels} per class: no views {statistics.mean(plain):.4f}")
        for kind in ("mirror", "no mirror"):
            accuracies = found[labels, kind]
            gains = np.subtract(accuracies, plain)
            print(
                f"    {VIEWS} views, {kind:<9} {statistics.mean(accuracies):.4f}; difference {gains.mean():+.4f} "
                f"± {gains.std(ddof=1) / len(gains) ** 0.5:.4f}"
            )


if __name__ == "__main__":
    main()
