"""The fine-tuning loop that a user would write, against Frostline: same pictures, same network, same epochs.

    python bench/finetune.py [--images 3000] [--epochs 3] [--size 128] [--repeats 2]

The plain way, in bare PyTorch: every stage of AlexNet trained, NCHW, DataLoader with 2 workers and PIL transforms (to
RGB, resize, mirror, turn, move and scale a little, to tensor, normalise), AdamW with one-cycle, a training and a
validation phase each epoch. Frostline's way: `freeze = "none"`, all stages at once, the same kinds of change drawn on
whole batches. Both begin with the same pre-trained convolutions and a new head on conv5, with the same batches, rates
and decay. A fifth of the pictures validates. The accuracies must agree within three points, which is what chance makes
of so few pictures, before a ratio is printed. A second line is Frostline's with 16-bit training, where the processor
has it.
"""

import argparse
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from frostline.runs.choose import split
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from common import machine
from frostline.config import TrainConfig
from frostline.device import half_precision
from frostline.images.dataset import ImageDataset
from frostline.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.images.registry import load_dataset
from frostline.images.views import Augment
from frostline.networks.registry import load_backbone
from frostline.runs.fit import fit
from frostline.training.optimisers import learning_rate

BATCH, LR, DECAY, SEED = 64, 5e-4, 0.05, 0


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Fashion-MNIST one PIL image at a time, changed a little for training."""

    def __init__(self, data: ImageDataset, size: int, *, change: bool) -> None:
        self.data, self.size, self.change = data, size, change
        self.mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
        self.std = torch.tensor(IMAGENET_STD)[:, None, None]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        picture = Image.fromarray(np.asarray(self.data.images)[index]).convert("RGB")
        picture = picture.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if self.change:
            picture = self._changed(picture)
        tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        return (tensor - self.mean) / self.std, int(self.data.labels[index])

    def _changed(self, picture: Image.Image) -> Image.Image:
        far = Augment()
        low_to_high = torch.rand(4).tolist()
        if low_to_high[0] < far.flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        angle, right, down = (2 * number - 1 for number in low_to_high[1:])
        scale = (1 + far.scale) ** (2 * torch.rand(1).item() - 1)
        turn = math.radians(far.rotation) * angle
        middle = self.size / 2
        cosine, sine = math.cos(turn) * scale, math.sin(turn) * scale
        matrix = (
            cosine, -sine, middle - cosine * middle + sine * middle + far.shift * right * self.size,
            sine, cosine, middle - sine * middle - cosine * middle + far.shift * down * self.size,
        )  # fmt: skip
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def plain_network(size: int) -> nn.Sequential:
    """AlexNet's convolutions as torchvision lays them out, NCHW, pre-trained, and a new head."""
    layers = [layer for stage in load_backbone(weights="bundled").stages.values() for layer in stage]
    convolutions = nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.contiguous_format)
    features = convolutions(torch.zeros(1, 3, size, size)).shape[1]
    return nn.Sequential(convolutions, nn.Linear(features, 10)).requires_grad_(True)


def plain(config: TrainConfig, size: int, epochs: int) -> tuple[float, float]:
    """Return seconds and the last epoch's validation accuracy."""
    torch.manual_seed(SEED)
    parts = split(load_dataset(config.data), config)
    network, loss_of = plain_network(size), nn.CrossEntropyLoss()
    optimiser = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=DECAY)
    steps = math.ceil(len(parts.train) / BATCH)
    begun = time.perf_counter()
    for epoch in range(epochs):
        network.train()
        loader = DataLoader(Pictures(parts.train, size, change=True), BATCH, shuffle=True, num_workers=2)
        for step, (x, y) in enumerate(loader):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate("onecycle", LR, epoch * steps + step, epochs * steps)
            loss = loss_of(network(x), y)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        network.eval()
        right = 0
        with torch.no_grad():
            for x, y in DataLoader(Pictures(parts.val, size, change=False), BATCH, num_workers=2):
                right += int((network(x).argmax(1) == y).sum())
    return time.perf_counter() - begun, right / len(parts.val)


def frostline(config: TrainConfig) -> tuple[float, float]:
    """Return the seconds of the epochs and the last one's validation accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        history = fit(config, output_dir=Path(folder) / "runs", cache_dir=Path(folder) / "cache").history
    return sum(line.seconds for line in history), history[-1].val_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    config = TrainConfig(
        data="fashion-mnist", weights="bundled", freeze="none", taps="none", schedule="together", limit=options.images,
        val_fraction=0.2, image_size=options.size, epochs=options.epochs, patience=options.epochs, batch_size=BATCH,
        lr=LR, weight_decay=DECAY, label_smoothing=0.0, seed=SEED,
    )  # fmt: skip
    ways = {
        "plain loop": lambda: plain(config, options.size, options.epochs),
        "Frostline": lambda: frostline(config),
    }
    if half_precision(torch.device("cpu")) is not None:
        ways["Frostline --amp"] = lambda: frostline(config.model_copy(update={"amp": True}))
    print(machine())
    print(f"{options.images} pictures, a fifth of them for validation, {options.size} px, {options.epochs} epochs")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    accuracy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            taken, reached = way()
            seconds[name].append(taken)
            accuracy[name].append(reached)
            print(f"{name:16} {taken:7.1f} s   val accuracy {reached:.4f}", flush=True)
    base, bar = statistics.median(seconds["plain loop"]), statistics.mean(accuracy["plain loop"])
    for name in list(ways)[1:]:
        assert abs(statistics.mean(accuracy[name]) - bar) <= 0.03, "the ways do not agree: no ratio is given"
        print(f"{name}: {base / statistics.median(seconds[name]):.2f}x the plain loop (medians of {options.repeats})")


if __name__ == "__main__":
    main()
