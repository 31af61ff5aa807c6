"""What do conv1's 64 filters look like, He-initialized and pre-trained, side by side?

    python -m bench filters [--weights bundled] [--output docs/images/conv1.png]

Each filter is stretched to its own range. Writes the image that docs/pretraining.md shows.

About 5 seconds on 2 cores.
"""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from bench.common.options import start
from frostline.models.registry import load_backbone


def mosaic(weights: str) -> np.ndarray:
    """Return the filters (64, 3, 11, 11) as one image of 8 x 8 tiles."""
    backbone = load_backbone(weights=weights, last="conv1")
    filters = next(backbone.stages["conv1"].parameters()).detach()
    low, high = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    tiles = torch.nn.functional.pad((filters - low) / (high - low), (1, 1, 1, 1), value=1.0)  # (64, 3, 13, 13)
    return tiles.reshape(8, 8, 3, 13, 13).permute(0, 3, 1, 4, 2).reshape(104, 104, 3).numpy()


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, weights="bundled", output="docs/images/conv1.png")
    figure = Figure(figsize=(9, 5), layout="tight")
    for axes, weights in zip(figure.subplots(1, 2), ("random", options.weights), strict=True):
        axes.imshow(mosaic(weights), interpolation="nearest")
        axes.set_title(f"conv1, {weights}")
        axes.set_axis_off()
    figure.savefig(options.output, dpi=100)
