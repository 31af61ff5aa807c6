"""Which stages should the head read, and averaged to which grid? Measured on the validation split; test is never read.

    python bench/taps.py [--weights random] [--image-size 128] [--images 4000] [--seeds 3]

Prints, for each choice, the features per image and the validation accuracy of the default linear head: mean and
standard deviation over seeds (each seed draws another split, and, for random weights, other weights).
"""

import argparse
import statistics
import time

import numpy as np
import torch
from frostline.runs.choose import PEAK_LR

import frostline.networks.boundary as cut
from common import rows_of
from frostline.activations.forward import FastForward
from frostline.images.fashion_mnist import load
from frostline.images.preprocess import Preprocess
from frostline.images.splits import stratified
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples
from frostline.training.loop import Recipe, moments, train

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    data = load().train
    print(
        f"{options.weights} weights, {options.image_size} px, {options.images} training and as many validation images"
    )
    print(f"{'stages':<32} grid  features  val accuracy      head s")
    for taps, grid in CHOICES:
        accuracies, seconds, width = [], [], 0
        for seed in range(options.seeds):
            chosen, rest = stratified(data.labels, options.images, seed)
            held_out = rest[stratified(data.labels[rest], options.images, seed)[0]]
            cut.TAP_GRID = grid or 1
            backbone = load_backbone(weights=options.weights, seed=seed)
            frozen = Frozen(backbone, make_boundary(backbone, "conv5", taps))
            forward = FastForward(frozen, Preprocess(options.image_size), torch.device("cpu"))
            parts = [Examples(rows_of(forward, data.subset(part)), data.labels[part]) for part in (chosen, held_out)]
            head = Head(HeadSpec("linear", int(np.prod(parts[0].rows.shape)), 10))
            head.standardise(*moments(torch.nn.Sequential(), parts[0], seed))
            begun = time.perf_counter()
            recipe = Recipe(epochs=12, batch_size=256, lr=PEAK_LR["adamw", "linear"], patience=12, seed=seed)
            done = train(head, *parts, recipe)
            accuracies.append(done.history[done.best_epoch - 1].val_accuracy)
            seconds.append(time.perf_counter() - begun)
            width = head.spec.features
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else float("nan")
        name = ",".join(taps) or "conv5 as it is"
        print(
            f"{name:<32} {grid or '-':>4}  {width:>8,}  {statistics.mean(accuracies):.4f} ± {spread:.4f}"
            f"   {statistics.mean(seconds):.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
