"""What do float16 activations cost? Against float32, same network, same images, same head, on the validation split.

    python bench/float16.py [--weights random] [--images 8000] [--seeds 3]

Prints the largest error of an activation, relative to the largest activation of its row, and the validation accuracy
of both.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from common import machine
from frostline import TrainConfig, fit
from frostline.activations.forward import FastForward
from frostline.images.fashion_mnist import load
from frostline.images.preprocess import Preprocess
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.registry import load_backbone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    backbone = load_backbone(weights=options.weights)
    forward = FastForward(Frozen(backbone, make_boundary(backbone, "conv5", ())), Preprocess(128), torch.device("cpu"))
    rows = forward(forward.preprocess.resize(np.asarray(load().train.images[:2000]))).flatten(1)
    errors = (rows - rows.half().float()).abs() / rows.amax(1, keepdim=True)
    print(
        f"error of a conv5 activation, share of its row's largest: largest {errors.max():.1e}, mean {errors.mean():.1e}"
    )
    for seed in range(options.seeds):
        found = {}
        for dtype in ("float16", "float32"):
            with tempfile.TemporaryDirectory() as folder:
                config = TrainConfig(
                    data="fashion-mnist",
                    weights=options.weights,
                    head="linear",
                    cache_dtype=dtype,
                    limit=options.images,
                    val_fraction=0.5,
                    seed=seed,
                )
                run = fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
                found[dtype] = run.metrics["val"]["accuracy"]
        print(f"seed {seed}: val accuracy float16 {found['float16']:.4f}, float32 {found['float32']:.4f}", flush=True)


if __name__ == "__main__":
    main()
