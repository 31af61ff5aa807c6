"""Does the closed-form head gain from augmented views of few labels?

    python -m bench ridge_views [--seeds 10] [--labels 10 100] [--images 6000]

Frozen AlexNet at 128 px with the bundled weights, conv5, 10 and 100 labels per class of Fashion-MNIST's training file,
drawn as `python -m bench bundled` draws them. Three ridge heads: without views; from eight views of each image, with
the probabilities of a validation image and its mirror image averaged; and from eight views that are not mirrored, with
the validation image alone. Prints mean accuracies on the validation split (`--images` images of each seed), and the
paired differences to the head without views with their standard errors. No test split is read.

About 10 minutes on 2 cores.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from bench.common.features import CONV5, Lazy, draw_labels, frozen_alexnet, new_head, prior_examples, rows_of
from bench.common.options import start
from bench.common.tables import Table, paired_difference
from frostline.data.augment import Augment, View
from frostline.data.dataset import ImageDataset
from frostline.data.registry import load_dataset
from frostline.features.forward import FastForward
from frostline.inference.classifier import tta_views
from frostline.models.heads import Head
from frostline.training.examples import Examples
from frostline.training.ridge import solve
from frostline.training.trainer import predict_logits

VIEWS = 8


def fitted(train: Examples, val: Examples, prior: Examples) -> tuple[Head, float]:
    """Return a ridge head and its accuracy on validation."""
    head = new_head("ridge", train)
    return head, solve(head, train, val, prior=prior).val_accuracy


def with_views(forward: FastForward, images: ImageDataset, train: Examples, seed: int, augment: Augment) -> Examples:
    """Return the training images with further views of them."""
    views = (rows_of(forward, images, View(number, seed, augment)).last(CONV5) for number in range(1, VIEWS))
    return Examples(train.rows, train.labels, tuple(views))


def main(arguments: Sequence[str]) -> None:
    labels_option = {"type": int, "nargs": "*", "default": [10, 100], "metavar": "N"}
    options = start(__doc__, arguments, seeds=10, labels=labels_option, images=6_000)
    data, forward = load_dataset("fashion-mnist").train, frozen_alexnet("bundled")
    prior = prior_examples(forward, CONV5)
    features, mirrored = Lazy(forward, data), Lazy(forward, data, tta_views(2)[1])
    found = defaultdict[tuple[int, str], list[float]](list)
    for seed in range(options.seeds):
        for labels in options.labels:
            chosen, held_out = draw_labels(data, labels, seed)
            held_out = held_out[: options.images]
            train, val = (features.examples(rows, CONV5) for rows in (chosen, held_out))
            part = data.subset(chosen)
            found[labels, "none"].append(fitted(train, val, prior)[1])
            found[labels, f"{VIEWS}, not mirrored"].append(
                fitted(with_views(forward, part, train, seed, Augment(flip=0)), val, prior)[1]
            )
            head, _ = fitted(with_views(forward, part, train, seed, Augment()), val, prior)
            views = (val, mirrored.examples(held_out, CONV5))
            probabilities = sum(predict_logits(head, view).softmax(1).numpy() for view in views)
            found[labels, f"{VIEWS}, mirrored"].append(float((probabilities.argmax(1) == val.labels).mean()))
    table = Table("labels per class:>16", "views:15", "val accuracy:6", "difference:16")
    for (labels, views), values in sorted(found.items()):
        table.row(labels, views, f"{np.mean(values):.4f}", paired_difference(values, found[labels, "none"]))
