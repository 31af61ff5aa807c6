"""The loop that tutorials teach, against Frostline: same images, same network, same new head, same epochs.

    python bench/tutorial.py [--images 1500] [--epochs 10]

The tutorial's way, in PyTorch and torchvision: the frozen convolutions of torchvision's AlexNet run again for every
picture of every epoch, NCHW, DataLoader with 2 workers and torchvision's transforms (to three channels, resize to
224 px, to tensor, normalise), a training and a validation phase each epoch. Frostline's way: the frozen pass once, then
the head on the kept activations; once from an empty cache and several times from a warm one. 80 % of the images are
trained on, 20 % validate. Both get the same network weights, the same head with the same fixed standardisation, the
same optimiser, learning rates and orders. The accuracies must agree within one point before a ratio is printed.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from common import machine, name_operators_of_torchvision
from frostline.activations.fill import fill
from frostline.activations.forward import FastForward
from frostline.activations.spec import spec_of
from frostline.images.dataset import ImageDataset
from frostline.images.fashion_mnist import load
from frostline.images.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from frostline.images.splits import limited, train_val
from frostline.networks.alexnet import published_key
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples, epoch_order
from frostline.training.loop import Recipe, moments, train
from frostline.training.optimisers import learning_rate

SIZE, BATCH, LR, DECAY, SEED = 224, 64, 4e-4, 0.05, 0


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Fashion-MNIST as a tutorial reads it: one PIL image at a time."""

    def __init__(self, data: ImageDataset, order: np.ndarray) -> None:
        from torchvision import transforms

        self.data, self.order = data, order
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(3),
                transforms.Resize(SIZE),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        index = int(self.order[position])
        picture = Image.fromarray(np.asarray(self.data.images)[index])
        return self.transform(picture), int(self.data.labels[index])


def plain_features() -> nn.Sequential:
    """The convolutions of torchvision's AlexNet, NCHW, with the same random weights as Frostline's."""
    from torchvision.models import alexnet

    features = alexnet().features
    ours = load_backbone(weights="random", seed=SEED).state_dict()
    features.load_state_dict({published_key(key).removeprefix("features."): value for key, value in ours.items()})
    return features.requires_grad_(False).eval()


def tutorial(train_set: ImageDataset, val_set: ImageDataset, head: Head, epochs: int) -> tuple[float, float]:
    """Return seconds and the best epoch's validation accuracy."""
    begun = time.perf_counter()
    features, loss_of = plain_features(), nn.CrossEntropyLoss()
    optimiser = torch.optim.AdamW(head.parameters(), lr=LR, weight_decay=DECAY)
    steps = math.ceil(len(train_set) / BATCH)
    best = 0.0
    for epoch in range(epochs):
        order = epoch_order(len(train_set), SEED, epoch)
        head.train()
        for step, (x, y) in enumerate(DataLoader(Pictures(train_set, order), BATCH, num_workers=2)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate("onecycle", LR, epoch * steps + step, epochs * steps)
            with torch.no_grad():
                maps = features(x)
            loss = loss_of(head(maps), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        head.eval()
        right = 0
        with torch.no_grad():
            for x, y in DataLoader(Pictures(val_set, np.arange(len(val_set))), BATCH, num_workers=2):
                right += int((head(features(x)).argmax(1) == y).sum())
        best = max(best, right / len(val_set))
    return time.perf_counter() - begun, best


def frostline(
    train_set: ImageDataset, val_set: ImageDataset, head: Head, epochs: int, cache: Path
) -> tuple[float, float]:
    """Return seconds and the best epoch's validation accuracy."""
    begun = time.perf_counter()
    backbone = load_backbone(weights="random", seed=SEED)
    frozen, preprocess = Frozen(backbone, make_boundary(backbone, "conv5", ())), Preprocess(SIZE)
    forward = FastForward(frozen, preprocess, torch.device("cpu"))
    rows, _ = fill([train_set, val_set], forward, spec_of("alexnet", frozen, preprocess, "float16"), cache)
    parts = [Examples(features, part.labels) for features, part in zip(rows, (train_set, val_set), strict=True)]
    done = train(
        head, *parts, Recipe(epochs=epochs, batch_size=BATCH, lr=LR, weight_decay=DECAY, patience=epochs, seed=SEED)
    )
    return time.perf_counter() - begun, max(line.val_accuracy for line in done.history)


def new_head(train_set: ImageDataset) -> Head:
    """The same head for both, standardised by the same numbers; outside of the clock."""
    backbone = load_backbone(weights="random", seed=SEED)
    frozen, preprocess = Frozen(backbone, make_boundary(backbone, "conv5", ())), Preprocess(SIZE)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        forward = FastForward(frozen, preprocess, torch.device("cpu"))
        spec = spec_of("alexnet", frozen, preprocess, "float16")
        rows, _ = fill([train_set], forward, spec, Path(folder))
        head = Head(HeadSpec("linear", int(np.prod(rows[0].shape)), 10))
        head.standardise(*moments(nn.Sequential(), Examples(rows[0], train_set.labels), SEED))
    return head


def fresh(head: Head) -> Head:
    twin = Head(head.spec)
    twin.load_state_dict(head.state_dict())
    return twin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    name_operators_of_torchvision()
    data = load().train
    data = data.subset(limited(data.labels, options.images, SEED))
    chosen, held_out = train_val(data.labels, 0.2, SEED)
    head = new_head(data.subset(chosen))

    def parts() -> tuple[ImageDataset, ImageDataset]:  # anew each time: row ids are computed inside the clock
        return data.subset(chosen), data.subset(held_out)

    print(machine())
    print(f"{len(chosen)} training and {len(held_out)} validation images, {SIZE} px, {options.epochs} epochs")
    slow, slow_accuracy = tutorial(*parts(), fresh(head), options.epochs)
    print(f"tutorial loop          {slow:8.1f} s   val accuracy {slow_accuracy:.4f}", flush=True)
    cold, warm = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            seconds, accuracy = frostline(*parts(), fresh(head), options.epochs, Path(folder))
            cold.append(seconds)
            for _ in range(3):
                seconds, again = frostline(*parts(), fresh(head), options.epochs, Path(folder))
                warm.append(seconds)
                assert again == accuracy, "a warm cache must give what a cold one gave"
    print(f"Frostline, empty cache {statistics.median(cold):8.2f} s   val accuracy {accuracy:.4f}   (median of 3)")
    print(f"Frostline, warm cache  {statistics.median(warm):8.2f} s   val accuracy {accuracy:.4f}   (median of 9)")
    assert abs(accuracy - slow_accuracy) <= 0.01, "the two ways do not agree: no ratio is given"
    print(
        f"ratio: {slow / statistics.median(cold):.1f}x from an empty cache, {slow / statistics.median(warm):.0f}x warm"
    )


if __name__ == "__main__":
    main()
