"""What keeping the activations of a boundary in the middle saves: training above conv3, rows kept or computed anew.

    python bench/boundary.py [--images 6000] [--epochs 2] [--freeze conv3] [--size 128]

Same network, same batches, same seed, float32 rows: from a warm cache, from a live pass through Frostline's fast
frozen stages in every epoch, and from the plain forward pass that a user would write. The trained weights of all three
must agree to rounding before a ratio is printed. Seconds are medians over the epochs, validation left out.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from common import machine
from frostline.activations.fill import fill
from frostline.activations.forward import FastForward
from frostline.activations.kept import LiveActivations
from frostline.activations.spec import spec_of
from frostline.images.dataset import ImageDataset
from frostline.images.fashion_mnist import load
from frostline.images.preprocess import Preprocess
from frostline.images.splits import limited
from frostline.networks.alexnet import USUAL_TAPS
from frostline.networks.backbone import channels_last
from frostline.networks.boundary import Frozen, Thawed, make_boundary
from frostline.networks.heads import Head, HeadSpec
from frostline.networks.registry import load_backbone
from frostline.training.examples import Examples, Rows
from frostline.training.loop import Recipe, moments, train
from frostline.training.optimisers import layer_groups

CPU = torch.device("cpu")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--freeze", default="conv3")
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    data = load().train
    data = data.subset(limited(data.labels, options.images, 0))
    preprocess = Preprocess(options.size)
    recipe = Recipe(epochs=options.epochs, batch_size=128, lr=1e-4, seed=0, patience=options.epochs, clip_norm=1.0)
    print(machine())
    print(f"{options.images} pictures, {options.size} px, {options.epochs} epochs, frozen up to {options.freeze}")
    seconds, weights = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for way in ("kept", "live", "plain"):
            backbone = load_backbone(weights="bundled")
            boundary = make_boundary(backbone, options.freeze, USUAL_TAPS)
            frozen = Frozen(backbone, boundary)
            forward = FastForward(frozen, preprocess, CPU)
            rows: Rows
            if way == "kept":
                kept, done = fill([data], forward, spec_of("alexnet", frozen, preprocess, "float32"), Path(folder))
                rows = kept[0]
                print(f"the frozen pass, once: {done.seconds:.1f} s")
            else:
                rows = LiveActivations(data, forward) if way == "live" else Plain(data, frozen, preprocess)
            trunk = channels_last(Thawed(backbone, boundary, options.size))
            examples = Examples(rows, data.labels)
            mean, std = moments(trunk, examples, 0)
            head = Head(HeadSpec("linear", mean.numel(), 10))
            head.standardise(mean, std)
            groups = layer_groups(trunk.stages.values(), head, 1.0)
            history = train(nn.Sequential(trunk, head), examples, None, recipe, groups=groups).history
            seconds[way] = statistics.median(line.seconds for line in history)
            weights[way] = torch.cat([value.detach().flatten() for value in trunk.parameters()])
            print(f"{way:6} {seconds[way]:7.1f} s an epoch   train loss {history[-1].train_loss:.5f}", flush=True)
    start = load_backbone(weights="bundled")
    first = torch.cat([value.detach().flatten() for name in trunk.stages for value in start.stages[name].parameters()])
    for way in ("live", "plain"):
        gap = (weights["kept"] - weights[way]).norm() / (weights["kept"] - first).norm()
        assert gap < 0.02, f"{way}: the weights differ by {gap:.4f} of the way they went: no ratio is given"
        print(f"kept takes {seconds['kept'] / seconds[way]:.2f} of {way} (weights apart by {gap:.1e} of their way)")


if __name__ == "__main__":
    main()
