"""How much time does it save to cache the features of a boundary in the middle, when training continues above it?

    python -m bench boundary [--images 6000] [--epochs 2] [--freeze conv3] [--image-size 128]

Trains above conv3 three times, with the same network, batches and seed and float32 features: from a warm cache, from a
live pass through Frostline's fast frozen stages in every epoch, and from the plain forward pass that a user would
write. Prints the median seconds of an epoch, validation left out. The trained weights of all three must agree to
rounding before a ratio is printed.

About 2 minutes on 2 cores.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.common.features import frozen_alexnet, spec_for
from bench.common.options import start
from bench.common.tables import Table
from frostline.data.dataset import ImageDataset
from frostline.data.fashion_mnist import load
from frostline.data.preprocess import Preprocess
from frostline.data.splits import limited
from frostline.features.dataset import LiveFeatures
from frostline.features.extract import fill
from frostline.models.alexnet import USUAL_TAPS
from frostline.models.backbone import channels_last
from frostline.models.boundary import Frozen, Thawed
from frostline.models.heads import Head, HeadSpec
from frostline.models.registry import load_backbone
from frostline.training.examples import Examples, Rows, moments
from frostline.training.optim import layer_groups
from frostline.training.trainer import Recipe, train


class Plain:
    """Rows by the plain forward pass."""

    def __init__(self, images: ImageDataset, frozen: Frozen, preprocess: Preprocess) -> None:
        self._images, self._frozen, self._preprocess = images, channels_last(frozen), preprocess
        self.shape = tuple(self.take(np.arange(1)).shape[1:])

    def __len__(self) -> int:
        return len(self._images)

    def take(self, indices: np.ndarray) -> torch.Tensor:
        """Return rows (B, ...)."""
        with torch.no_grad():
            x = self._preprocess(self._images.pixels(indices)).contiguous(memory_format=torch.channels_last)
            return self._frozen(x)


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=6000, epochs=2, freeze="conv3", image_size=128)
    data = load().train
    data = data.subset(limited(data.labels, options.images, 0))
    recipe = Recipe(epochs=options.epochs, batch_size=128, lr=1e-4, seed=0, patience=options.epochs, clip_norm=1.0)
    seconds, weights = {}, {}
    table = Table("features:8", "seconds an epoch:>16", "train loss:>10")
    with tempfile.TemporaryDirectory() as folder:
        for way in ("cached", "live", "plain"):
            forward = frozen_alexnet("bundled", options.image_size, USUAL_TAPS, freeze=options.freeze)
            frozen, backbone = forward.frozen, load_backbone(weights="bundled")
            rows: Rows
            if way == "cached":
                (rows,), frozen_pass = fill([data], forward, spec_for(forward, "float32"), Path(folder))
            else:
                rows = LiveFeatures(data, forward) if way == "live" else Plain(data, frozen, forward.preprocess)
            trunk = channels_last(Thawed(backbone, frozen.boundary, options.image_size))
            examples = Examples(rows, data.labels)
            mean, std = moments(trunk, examples, 0)
            head = Head(HeadSpec("linear", mean.numel(), 10))
            head.standardize(mean, std)
            groups = layer_groups(trunk.stages.values(), head, 1.0)
            history = train(nn.Sequential(trunk, head), examples, None, recipe, groups=groups).history
            seconds[way] = statistics.median(line.seconds for line in history)
            weights[way] = torch.cat([value.detach().flatten() for value in trunk.parameters()])
            table.row(way, f"{seconds[way]:.1f}", f"{history[-1].train_loss:.5f}")
    print(f"the frozen pass, once: {frozen_pass.seconds:.1f} s")
    before = load_backbone(weights="bundled")
    first = torch.cat([value.detach().flatten() for name in trunk.stages for value in before.stages[name].parameters()])
    for way in ("live", "plain"):
        gap = (weights["cached"] - weights[way]).norm() / (weights["cached"] - first).norm()
        assert gap < 0.02, f"{way}: the weights differ by {gap:.4f} of the change in training: no ratio is given"
        print(
            f"cached takes {seconds['cached'] / seconds[way]:.2f} of {way} (weights differ by {gap:.1e} of the change)"
        )
