"""How much faster is Frostline than the loop that tutorials teach, at equal accuracy?

    python -m bench tutorial [--images 1500] [--epochs 10] [--image-size 224]

The tutorial's way, in PyTorch and torchvision: the frozen convolutions of torchvision's AlexNet run again for every
image of every epoch, NCHW, DataLoader with 2 workers and torchvision's transforms (to three channels, resize, to
tensor, normalize), a training and a validation phase each epoch. The fast loop is the same with the frozen part in the
layout channels last, and in bfloat16 where the processor has it. Frostline's way: the frozen pass once, then the head
on cached features; three times from an empty cache and nine from a warm one. 80 % of the images are trained on, 20 %
validate. Both get the same network weights, the same head with the same fixed standardization, the same optimizer,
learning rates and orders. Prints seconds and accuracies; these must agree within one point before a ratio is printed.

About 7 minutes on 2 cores.
"""

import importlib
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bench.common.features import frozen_alexnet, new_head, spec_for
from bench.common.options import start
from bench.common.plain import train_plainly
from bench.common.tables import Table
from bench.common.timing import Stopwatch
from frostline._utils.device import half_precision
from frostline.data.dataset import ImageDataset
from frostline.data.fashion_mnist import load
from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.data.splits import limited, train_val
from frostline.features.extract import fill
from frostline.models.alexnet import published_key
from frostline.models.heads import Head
from frostline.models.registry import load_backbone
from frostline.training.examples import Examples, epoch_order
from frostline.training.trainer import Recipe, train

BATCH, LR, DECAY, SEED = 64, 4e-4, 0.05, 0
Parts = tuple[ImageDataset, ImageDataset]


class Fast(nn.Module):
    """Frozen convolutions in the layout channels last, and under bfloat16 autocast where the processor has it."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        precision = half_precision(torch.device("cpu"))
        with torch.autocast("cpu", precision, enabled=precision is not None):
            maps = self.features(x.contiguous(memory_format=torch.channels_last))
        return maps.float().contiguous()


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Fashion-MNIST as a tutorial reads it: one PIL image at a time."""

    def __init__(self, data: ImageDataset, order: np.ndarray, size: int) -> None:
        from torchvision import transforms

        self.data, self.order = data, order
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(3),
                transforms.Resize(size),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        index = int(self.order[position])
        image = Image.fromarray(np.asarray(self.data.images)[index])
        return self.transform(image), int(self.data.labels[index])


def plain_features() -> nn.Sequential:
    """Return the convolutions of torchvision's AlexNet, NCHW, with the same random weights as Frostline's."""
    # torchvision belongs to torch's CUDA build: beside the CPU build its operators need names, as in the tests
    importlib.import_module("tests.torchvision_operators.sitecustomize")
    from torchvision.models import alexnet

    features = alexnet().features
    ours = load_backbone(weights="random", seed=SEED).state_dict()
    features.load_state_dict({published_key(key).removeprefix("features."): value for key, value in ours.items()})
    return features.requires_grad_(False).eval()


def tutorial(parts: Parts, head: Head, epochs: int, size: int, fast: bool = False) -> float:
    """Return the best epoch's validation accuracy; ``fast``: as one who knows PyTorch well writes the loop."""
    train_set, val_set = parts

    def loader(data: ImageDataset, order: np.ndarray) -> DataLoader[tuple[torch.Tensor, int]]:
        return DataLoader(Images(data, order, size), BATCH, num_workers=2)

    accuracies = train_plainly(
        Fast(plain_features()) if fast else plain_features(),
        head,
        lambda epoch: loader(train_set, epoch_order(len(train_set), SEED, epoch)),
        loader(val_set, np.arange(len(val_set))),
        epochs=epochs,
        lr=LR,
        weight_decay=DECAY,
    )
    return max(accuracies)


def frostline(parts: Parts, head: Head, epochs: int, size: int, cache: Path) -> float:
    """Return the best epoch's validation accuracy."""
    recipe = Recipe(epochs=epochs, batch_size=BATCH, lr=LR, weight_decay=DECAY, patience=epochs, seed=SEED)
    done = train(head, *cached(parts, size, cache), recipe)
    return max(line.val_accuracy for line in done.history)


def cached(parts: Sequence[ImageDataset], size: int, cache: Path) -> list[Examples]:
    forward = frozen_alexnet(image_size=size, taps=(), seed=SEED)
    rows, _ = fill(list(parts), forward, spec_for(forward), cache)
    return [Examples(features, part.labels) for features, part in zip(rows, parts, strict=True)]


def copy_of(head: Head) -> Head:
    twin = Head(head.spec)
    twin.load_state_dict(head.state_dict())
    return twin


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=1500, epochs=10, image_size=224)
    plain_features()  # imports torchvision, outside of the clock
    data = load().train
    data = data.subset(limited(data.labels, options.images, SEED))
    chosen, held_out = train_val(data.labels, 0.2, SEED)
    with tempfile.TemporaryDirectory() as folder:  # the same head for both, outside of the clock
        head = new_head("linear", cached([data.subset(chosen)], options.image_size, Path(folder))[0], seed=SEED)

    def parts() -> Parts:  # new each time: row ids are computed inside the clock
        return data.subset(chosen), data.subset(held_out)

    settings = {"epochs": options.epochs, "size": options.image_size}
    print(f"{len(chosen)} training and {len(held_out)} validation images")
    table = Table("loop:22", "seconds:>8", "val accuracy:12", "median of:>9")
    loops: dict[str, tuple[float, float]] = {}  # seconds, validation accuracy
    for name, fast in (("tutorial", False), ("fast loop", True)):
        with Stopwatch() as watch:
            reached_by_loop = tutorial(parts(), copy_of(head), fast=fast, **settings)
        loops[name] = watch.seconds, reached_by_loop
        table.row(name, f"{watch.seconds:.1f}", f"{reached_by_loop:.4f}", 1)
    ours = partial(frostline, **settings)
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            reached = []
            for times in (cold, warm, warm, warm):
                with Stopwatch() as watch:
                    reached.append(ours(parts(), copy_of(head), cache=Path(folder)))
                times.append(watch.seconds)
        assert len(set(reached)) == 1, "a warm cache must give what an empty one gave"
    accuracy = reached[0]
    table.row("Frostline, empty cache", f"{statistics.median(cold):.2f}", f"{accuracy:.4f}", len(cold))
    table.row("Frostline, warm cache", f"{statistics.median(warm):.2f}", f"{accuracy:.4f}", len(warm))
    for name, (seconds, plain_accuracy) in loops.items():
        assert abs(accuracy - plain_accuracy) <= 0.01, f"the {name} and Frostline do not agree: no ratio is given"
        ratios = [seconds / statistics.median(times) for times in (cold, warm)]
        print(f"{name}: {ratios[0]:.1f} times as long as from an empty cache, {ratios[1]:.0f} times as long as warm")
