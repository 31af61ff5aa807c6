"""How much faster is Frostline than the fine-tuning loop that a user would write, at equal accuracy?

    python -m bench finetune [--images 3000] [--epochs 3] [--image-size 128] [--repeats 2]

The plain way, in bare PyTorch: every stage of AlexNet trained, NCHW, DataLoader with 2 workers and PIL transforms (to
RGB, resize, mirror, rotate, shift and scale a little, to tensor, normalize), AdamW with one-cycle, a training and a
validation phase each epoch. Frostline's way: `freeze = "none"`, all stages at once, the same kinds of augmentation
drawn for whole batches; then the same with mixed precision, where the processor has bfloat16. All begin with the same
pre-trained convolutions and a new head on conv5, with the same batches, rates and decay. A fifth of the images
validates. Prints seconds and accuracies; these must agree within three points, which is chance for so few images,
before a ratio is printed.

About 4 minutes on 2 cores.
"""

import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

from bench.common.options import start
from bench.common.plain import train_plainly
from bench.common.runs import fit_in
from bench.common.tables import Table
from bench.common.timing import Stopwatch, alternate
from frostline._utils.device import half_precision
from frostline.config import TrainConfig
from frostline.data.augment import Augment
from frostline.data.dataset import ImageDataset
from frostline.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from frostline.data.registry import load_dataset
from frostline.models.registry import load_backbone
from frostline.pipeline.resolve import split

BATCH, LR, DECAY, SEED = 64, 5e-4, 0.05, 0


class Images(Dataset[tuple[torch.Tensor, int]]):
    """Fashion-MNIST one PIL image at a time, changed a little for training."""

    def __init__(self, data: ImageDataset, size: int, *, change: bool) -> None:
        self.data, self.size, self.change = data, size, change
        self.mean = torch.tensor(IMAGENET_MEAN)[:, None, None]
        self.std = torch.tensor(IMAGENET_STD)[:, None, None]

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(np.asarray(self.data.images)[index]).convert("RGB")
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        if self.change:
            image = self._changed(image)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        return (tensor - self.mean) / self.std, int(self.data.labels[index])

    def _changed(self, image: Image.Image) -> Image.Image:
        far = Augment()
        low_to_high = torch.rand(4).tolist()
        if low_to_high[0] < far.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        angle, right, down = (2 * number - 1 for number in low_to_high[1:])
        scale = (1 + far.scale) ** (2 * torch.rand(1).item() - 1)
        turn = math.radians(far.rotation) * angle
        middle = self.size / 2
        cosine, sine = math.cos(turn) * scale, math.sin(turn) * scale
        matrix = (
            cosine, -sine, middle - cosine * middle + sine * middle + far.shift * right * self.size,
            sine, cosine, middle - sine * middle - cosine * middle + far.shift * down * self.size,
        )  # fmt: skip
        return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


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
    network = plain_network(size)

    def loader(data: ImageDataset, *, training: bool) -> DataLoader[tuple[torch.Tensor, int]]:
        return DataLoader(Images(data, size, change=training), BATCH, shuffle=training, num_workers=2)

    with Stopwatch() as watch:
        accuracies = train_plainly(
            nn.Identity(),
            network,
            lambda _: loader(parts.train, training=True),
            loader(parts.val, training=False),
            epochs=epochs,
            lr=LR,
            weight_decay=DECAY,
            clip_norm=1.0,
        )
    return watch.seconds, accuracies[-1]


def frostline(config: TrainConfig) -> tuple[float, float]:
    """Return the seconds of the epochs and the last one's validation accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        history = fit_in(folder, config).history
    return sum(line.seconds for line in history), history[-1].val_accuracy


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=3000, epochs=3, image_size=128, repeats=2)
    config = TrainConfig(
        data="fashion-mnist", weights="bundled", freeze="none", taps="none", schedule="together", limit=options.images,
        val_fraction=0.2, image_size=options.image_size, epochs=options.epochs, patience=options.epochs,
        batch_size=BATCH, lr=LR, weight_decay=DECAY, label_smoothing=0.0, seed=SEED,
    )  # fmt: skip
    ways = {
        "plain loop": lambda: plain(config, options.image_size, options.epochs),
        "Frostline": lambda: frostline(config),
    }
    if half_precision(torch.device("cpu")) is not None:
        ways["Frostline --amp"] = lambda: frostline(config.model_copy(update={"amp": True}))
    seconds, accuracies = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    table = Table("loop:16", "seconds:>8", "val accuracy:12")
    for name, (taken, reached), _ in alternate(ways, options.repeats):
        seconds[name].append(taken)
        accuracies[name].append(reached)
        table.row(name, f"{taken:.1f}", f"{reached:.4f}")
    base, bar = statistics.median(seconds["plain loop"]), statistics.mean(accuracies["plain loop"])
    for name in list(ways)[1:]:
        assert abs(statistics.mean(accuracies[name]) - bar) <= 0.03, "the ways do not agree: no ratio is given"
        print(f"{name}: {base / statistics.median(seconds[name]):.2f}x the plain loop (medians of {options.repeats})")
