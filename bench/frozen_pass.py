"""How fast is the frozen pass, against the machine's own matrix-product rate?

    python bench/frozen_pass.py [--seconds 8] [--repeats 3]

For 64, 96, 128 and 224 px: the whole pass on real Fashion-MNIST images, from bytes to checked float16 shards on disk
(resizing, five convolution stages, all five taps, writing and syncing included). Two rates are given: the network's
multiply-accumulates (three input channels, as `frostline models show` counts), and those really done after greyscale
was folded into conv1. The matrix product is measured anew beside every size, in the same run.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from common import CONVS, convolution_macs, machine, matrix_product_rate
from frostline.activations.fill import fill
from frostline.activations.forward import FastForward
from frostline.activations.spec import spec_of
from frostline.images.fashion_mnist import load
from frostline.images.preprocess import Preprocess
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.describe import describe
from frostline.networks.registry import load_backbone, outline


def folded_macs(image_size: int) -> int:
    """Multiply-accumulates left after folding: conv1 is 3x3 on 16 channels of blocks instead of 11x11 on 3."""
    facts = describe(list(outline("alexnet").stages.items())[:5], image_size)
    conv1 = facts[0].multiply_accumulates
    return sum(stage.multiply_accumulates for stage in facts) - conv1 + conv1 * (16 * 9) // (3 * 121)


def one_pass(image_size: int, count: int) -> float:
    """Return the seconds of a pass over the first images into an empty cache."""
    images = load().train.subset(np.arange(count))
    frozen = Frozen(load_backbone(weights="random"), make_boundary(outline("alexnet"), "conv5", CONVS))
    preprocess = Preprocess(image_size)
    forward = FastForward(frozen, preprocess, torch.device("cpu"))
    forward(preprocess.resize(np.asarray(images.images[:64])))  # kernels are chosen at the first call
    spec = spec_of("alexnet", frozen, preprocess, "float16")
    cache = Path(tempfile.mkdtemp())
    try:
        begun = time.perf_counter()
        fill([images], forward, spec, cache)
        return time.perf_counter() - begun
    finally:
        shutil.rmtree(cache)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8, help="about how long one pass is to take")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print("image px   images  images/s   matrix product GMAC/s   pass GMAC/s (share)   really done GMAC/s (share)")
    for size in (64, 96, 128, 224):
        macs, done = convolution_macs(size), folded_macs(size)
        rates, products = [], []
        count = 2048
        for attempt in range(options.repeats + 1):
            products.append(matrix_product_rate(3) / 1e9)
            seconds = one_pass(size, count)
            if attempt == 0:  # the first sizes the others
                count = int(min(60_000, max(2048, count / seconds * options.seconds)))
                products.clear()
            else:
                rates.append(count / seconds)
        rate, product = statistics.median(rates), statistics.median(products)
        nominal, real = rate * macs / 1e9, rate * done / 1e9
        print(
            f"{size:>8}  {count:>7,}  {rate:>8,.0f}   {product:>21.1f}   {nominal:>11.1f} ({nominal / product:.2f})"
            f"   {real:>18.1f} ({real / product:.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
