"""Draw conv1's 64 filters, He-initialised and pre-trained, side by side.

python bench/filters.py [--weights bundled] [--output docs/images/conv1.png]
"""

import argparse

import numpy as np
import torch
from matplotlib.figure import Figure

from frostline.networks.registry import load_backbone


def mosaic(weights: str) -> np.ndarray:
    """Return the filters (64, 3, 11, 11) as one picture, 8 x 8 of them, each stretched to its own range."""
    backbone = load_backbone(weights=weights, last="conv1")
    filters = next(backbone.stages["conv1"].parameters()).detach()
    low, high = filters.amin((1, 2, 3), keepdim=True), filters.amax((1, 2, 3), keepdim=True)
    tiles = torch.nn.functional.pad((filters - low) / (high - low), (1, 1, 1, 1), value=1.0)  # (64, 3, 13, 13)
    return tiles.reshape(8, 8, 3, 13, 13).permute(0, 3, 1, 4, 2).reshape(104, 104, 3).numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--output", default="docs/images/conv1.png")
    options = parser.parse_args()
    figure = Figure(figsize=(9, 5), layout="tight")
    for axes, weights in zip(figure.subplots(1, 2), ("random", options.weights), strict=True):
        axes.imshow(mosaic(weights), interpolation="nearest")
        axes.set_title(f"conv1, {weights}")
        axes.set_axis_off()
    figure.savefig(options.output, dpi=100)


if __name__ == "__main__":
    main()
