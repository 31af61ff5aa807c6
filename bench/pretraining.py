"""How much does each part of the pre-training recipe add?

    python -m bench pretraining [--drawn-images 60000] [--images 3000] [--only WORD ...]

Short pre-trainings that differ in one thing each (`VARIANTS`) and see equally many drawn images. Prints how well their
frozen convolutions at 128 px suit the closed-form head: validation accuracy on `--images` images of Fashion-MNIST's
training file after as many training images (its test file is not read), and on forty objects that no variant ever drew.
--only runs the variants whose names contain a word.

About 2 hours on 2 cores.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.common.features import CONV5, InMemory, frozen_alexnet, new_head, rows_of
from bench.common.options import start
from bench.common.tables import Table
from bench.common.timing import Stopwatch
from frostline.data.registry import load_dataset
from frostline.data.splits import per_class, stratified
from frostline.models.weights import read_record
from frostline.synthetic.scene import Program
from frostline.training.examples import Examples
from frostline.training.ridge import solve
from tools.pretraining.losses import Weights
from tools.pretraining.recipe import Budget, Phase, Recipe
from tools.pretraining.train import pretrain

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


def probe(weights: str, images: int) -> list[str]:
    """Return validation accuracies on Fashion-MNIST: conv5, pooled taps, conv5 with 10 labels per class."""
    data = load_dataset("fashion-mnist").train
    chosen, rest = stratified(data.labels, images, seed=0)
    parts = [data.subset(chosen), data.subset(rest[stratified(data.labels[rest], images, seed=0)[0]])]
    forward = frozen_alexnet(weights)
    taps = [rows_of(forward, part) for part in parts]
    conv5 = [rows.last(CONV5) for rows in taps]
    labels = [part.labels for part in parts]
    few = [per_class(labels[0], 10, seed) for seed in range(5)]
    few_accuracies = [accuracy(conv5[0].part(rows), labels[0][rows], conv5[1], labels[1]) for rows in few]
    both = [accuracy(rows[0], labels[0], rows[1], labels[1]) for rows in (conv5, taps)]
    return [f"{value:.3f}" for value in (*both, float(np.mean(few_accuracies)))]


def accuracy(rows: InMemory, labels: np.ndarray, val_rows: InMemory, val_labels: np.ndarray) -> float:
    part = Examples(rows, labels)
    return solve(new_head("ridge", part), part, Examples(val_rows, val_labels)).val_accuracy


def main(arguments: Sequence[str]) -> None:
    only = {"nargs": "*", "default": [""], "metavar": "WORD"}
    options = start(__doc__, arguments, drawn_images=60_000, images=3_000, only=only)
    table = Table(
        "variant:28", "minutes:>7", "objects never drawn:>8", "conv5:5", "pooled taps:5", "conv5, 10 per class:5"
    )
    table.row("none: He-initialized", "-", "-", *probe("random", options.images))
    for name, recipe in VARIANTS.items():
        if not any(word in name for word in options.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "weights.safetensors")
            with Stopwatch() as watch:
                pretrain(recipe, Budget(images=options.drawn_images), path, device=torch.device("cpu"))
            held_out = read_record(path)["history"][-1]["held_out_accuracy"]
            table.row(name, f"{watch.seconds / 60:.1f}", f"{held_out:.3f}", *probe(str(path), options.images))
