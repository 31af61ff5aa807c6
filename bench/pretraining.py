"""What does each part of the pre-training recipe do? Short pre-trainings that differ in one thing.

    python bench/pretraining.py [--pictures 60000] [--images 3000] [--only WORD ...]

Each variant learns from as many drawn pictures as the others. Then its frozen
convolutions are probed at 128 pixels with the closed-form head: on Fashion-MNIST (part of the training file; the test
file is not read) and on forty objects that no variant ever drew. --only runs the variants whose names hold a word.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from common import InMemory, machine, rows_of
from frostline.activations.forward import FastForward
from frostline.images.drawn.scene import Program
from frostline.images.preprocess import Preprocess
from frostline.images.registry import load_dataset
from frostline.images.splits import per_class, stratified
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.networks.weights import read_record
from frostline.pretrain.losses import Weights
from frostline.pretrain.recipe import Budget, Phase, Recipe
from frostline.pretrain.train import pretrain
from frostline.training.examples import Examples
from frostline.training.loop import moments
from frostline.training.ridge import solve

CONV5 = 256 * 3 * 3
BASE = Recipe(phases=(Phase(0.0, 64), Phase(0.8, 128)))
VARIANTS = {
    "base": BASE,
    "objects and textures alone": replace(BASE, sketch_stages=()),
    "sketches and textures alone": replace(BASE, weights=Weights(objects=0)),
    "sketches at conv5 alone": replace(BASE, sketch_stages=("conv5",)),
    "no textures": replace(BASE, weights=Weights(textures=0)),
    "textures taught at conv3": replace(BASE, texture_stage="conv3"),
    "500 objects": replace(BASE, program=Program(classes=500)),
    "no clutter": replace(BASE, program=Program(clutter=0.0)),
    "64 px alone": replace(BASE, phases=(Phase(0.0, 64),)),
    "weight decay 0.02": replace(BASE, weight_decay=0.02),
}


def probe(weights: str, images: int) -> list[float]:
    """Return validation accuracies on Fashion-MNIST: conv5, pooled taps, conv5 with 10 labels per class."""
    data = load_dataset("fashion-mnist").train
    chosen, rest = stratified(data.labels, images, seed=0)
    parts = [data.subset(chosen), data.subset(rest[stratified(data.labels[rest], images, seed=0)[0]])]
    backbone = load_backbone(weights=weights)
    frozen = Frozen(backbone, make_boundary(backbone, "conv5", backbone.stage_names[:5]))
    forward = FastForward(frozen, Preprocess(128), torch.device("cpu"))
    taps = [rows_of(forward, part) for part in parts]
    conv5 = [rows.last(CONV5) for rows in taps]
    labels = [part.labels for part in parts]
    few = [per_class(labels[0], 10, seed) for seed in range(5)]
    few_accuracies = [accuracy(conv5[0].part(rows), labels[0][rows], conv5[1], labels[1]) for rows in few]
    both = [accuracy(rows[0], labels[0], rows[1], labels[1]) for rows in (conv5, taps)]
    return [*both, float(np.mean(few_accuracies))]


def accuracy(rows: InMemory, labels: np.ndarray, val_rows: InMemory, val_labels: np.ndarray) -> float:
    train, val = Examples(rows, labels), Examples(val_rows, val_labels)
    head = Head(HeadSpec("ridge", math.prod(rows.shape), 10))
    head.standardise(*moments(torch.nn.Sequential(), train, 0))
    return solve(head, train, val).val_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=60_000)
    parser.add_argument("--images", type=int, default=3_000)
    parser.add_argument("--only", nargs="*", default=[""])
    options = parser.parse_args()
    print(machine())
    print(f"{'variant':<28} minutes  new objects  fashion: conv5  taps    conv5, 10 per class", flush=True)
    show("none: He-initialised", None, None, probe("random", options.images))
    for name, recipe in VARIANTS.items():
        if not any(word in name for word in options.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.safetensors")
            begun = time.perf_counter()
            pretrain(recipe, Budget(images=options.pictures), path, device=torch.device("cpu"))
            minutes = (time.perf_counter() - begun) / 60
            new_objects = read_record(path)["history"][-1]["held_out_accuracy"]
            show(name, minutes, new_objects, probe(str(path), options.images))


def show(name: str, minutes: float | None, new_objects: float | None, fashion: list[float]) -> None:
    columns = ["-" if minutes is None else f"{minutes:.1f}", "-" if new_objects is None else f"{new_objects:.3f}"]
    print(
        f"{name:<28} {columns[0]:>7}  {columns[1]:>11}  {fashion[0]:>14.3f}  {fashion[1]:.3f}  {fashion[2]:>12.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
