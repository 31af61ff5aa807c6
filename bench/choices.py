"""Which value of a setting gives the best validation accuracy, and at what cost?

    python -m bench choices QUESTION [--weights NAME] [--images N] [--seeds N]

Trains heads on Fashion-MNIST, one for each value of the setting and each seed. QUESTION is one of

    float16           precision of cached features; also prints the largest rounding error of one
    image-size        image size, on pooled taps and on conv5 alone
    label-smoothing   label smoothing, with 10 and 100 labels per class and all
    learning-rate     peak learning rate of each optimizer and head
    views             number of augmented views, with 10 and 100 labels per class and all

Of `--images` images a part validates (a quarter for learning-rate, half for the others). Each seed draws another split
and, for random weights, other weights. Prints mean and standard deviation over the seeds. The test split is not used to
choose.

About 5 to 40 minutes on 2 cores, by question.
"""

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.common.features import frozen_alexnet
from bench.common.options import make_parser, parse
from bench.common.runs import fit_in
from bench.common.tables import Table, mean_and_deviation
from frostline import TrainConfig
from frostline.data.fashion_mnist import load

RATES = {
    ("adamw", "linear"): (1e-4, 2e-4, 4e-4, 6e-4, 8e-4, 1.6e-3),
    ("sgd", "linear"): (1e-3, 2e-3, 4e-3, 8e-3),
    ("adamw", "mlp"): (1e-4, 3e-4, 1e-3),
    ("sgd", "mlp"): (3e-3, 1e-2, 3e-2),
}
FEW = (10, 100, None)  # labels per class; None: all
Variants = Iterator[tuple[str, dict[str, Any]]]


def float16() -> Variants:
    for dtype in ("float16", "float32"):
        yield dtype, {"cache_dtype": dtype}


def image_size() -> Variants:
    for size in (64, 96, 128, 160, 224):
        for taps in ("auto", "none"):
            yield f"{size} px, {_reads(taps)}", {"image_size": size, "taps": taps}


def label_smoothing() -> Variants:
    for taps in ("auto", "none"):
        for labels in FEW:
            for value in (0.0, 0.1, 0.2):
                settings = {"taps": taps, "labels_per_class": labels, "label_smoothing": value}
                yield f"{_reads(taps)}, {_amount(labels)}, {value}", settings


def learning_rate() -> Variants:
    for (optimizer, head), rates in RATES.items():
        for lr in rates:
            yield f"{optimizer}, {head}, {lr:g}", {"optimizer": optimizer, "head": head, "lr": lr, "val_fraction": 0.25}


def views() -> Variants:
    for labels in FEW:
        for count in (1, 2, 4, 12):
            yield f"{_amount(labels)}, {count}", {"labels_per_class": labels, "views": count}


def _reads(taps: str) -> str:
    return "pooled taps" if taps == "auto" else "conv5"


def _amount(labels: int | None) -> str:
    return f"{labels} labels per class" if labels else "all labels"


@dataclass(frozen=True)
class Question:
    """What is varied, with which weights and on how many images."""

    variants: Callable[[], Variants]
    weights: str
    images: int
    seeds: int = 3


QUESTIONS = {
    "float16": Question(float16, "random", 8_000),
    "image-size": Question(image_size, "random", 4_000),
    "label-smoothing": Question(label_smoothing, "bundled", 8_000),
    "learning-rate": Question(learning_rate, "random", 12_000, seeds=1),
    "views": Question(views, "bundled", 4_000),
}


def rounding_error(weights: str) -> str:
    """Return the error of float16 features, relative to the largest of an image."""
    forward = frozen_alexnet(weights, taps=())
    rows = forward(forward.preprocess.resize(np.asarray(load().train.images[:2000]))).flatten(1)
    errors = (rows - rows.half().float()).abs() / rows.amax(1, keepdim=True)
    worst, mean = errors.max(), errors.mean()
    return f"error of float16, as a share of an image's largest feature: {worst:.1e} at most, {mean:.1e} in the mean"


def main(arguments: Sequence[str]) -> None:
    number = {"type": int, "help": "default: as for the quoted figures"}
    parser = make_parser(__doc__, weights={}, images=number, seeds=number)
    parser.add_argument("question", choices=QUESTIONS)
    options = parse(parser, arguments)
    question = QUESTIONS[options.question]
    weights, images = options.weights or question.weights, options.images or question.images
    seeds = options.seeds or question.seeds
    print(f"{weights} weights, {images} images, {seeds} seeds")
    if options.question == "float16":
        print(rounding_error(weights))
    table = Table("setting:40", "val accuracy:15", "loss:6", "ece:5", "pass images/s:>6", "pass s:>6", "head s:>6")
    with tempfile.TemporaryDirectory() as folder:
        for name, settings in question.variants():
            found = []
            for seed in range(seeds):
                config = {"weights": weights, "limit": images, "seed": seed, "head": "linear", "val_fraction": 0.5}
                found.append(fit_in(folder, TrainConfig(data="fashion-mnist", **{**config, **settings})).metrics)
            val = {key: [metrics["val"][key] for metrics in found] for key in ("accuracy", "loss", "ece")}
            passes = [metrics["frozen_pass"] for metrics in found]
            rates = [one["images_per_second"] for one in passes if one["from_cache"] == 0]
            table.row(
                name,
                mean_and_deviation(val["accuracy"]),
                f"{statistics.mean(val['loss']):.4f}",
                f"{statistics.mean(val['ece']):.3f}",
                f"{statistics.median(rates):,.0f}" if rates else "cached",
                f"{statistics.mean(one['seconds'] for one in passes):.1f}",
                f"{statistics.mean(metrics['training']['seconds'] for metrics in found):.1f}",
            )
