"""How fast is the frozen pass, compared with the machine's own matrix-product rate?

    python -m bench frozen_pass [--seconds 8] [--images 2048] [--repeats 3]

For 64, 96, 128 and 224 px: the whole pass on Fashion-MNIST, from bytes to checksummed float16 shards on disk (resizing,
five convolution stages, all five taps, writing and syncing included). A first pass over `--images` images decides how
many take about `--seconds`. Prints images/s and two rates: the network's multiply-accumulates (three input channels, as
`frostline models show` counts them), and those left after grayscale is folded into conv1. The matrix product is timed
again before every pass.

About 3 minutes on 2 cores.
"""

import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.common.features import fill_once, frozen_alexnet, warm_up
from bench.common.machine import convolution_macs, matrix_product_rate
from bench.common.options import start
from bench.common.tables import Table
from bench.common.timing import Stopwatch
from frostline.data.fashion_mnist import load

SIZES = (64, 96, 128, 224)


def folded_macs(image_size: int) -> int:
    """Multiply-accumulates left after folding: conv1 is 3x3 on 16 channels of blocks instead of 11x11 on 3."""
    conv1, *rest = convolution_macs(image_size)
    return sum(rest) + conv1 * (16 * 9) // (3 * 121)


def one_pass(image_size: int, count: int) -> float:
    """Return the seconds of a pass over the first images into an empty cache."""
    images = load().train.subset(np.arange(count))
    forward = frozen_alexnet(image_size=image_size)
    warm_up(forward, images)
    with tempfile.TemporaryDirectory() as folder, Stopwatch() as watch:
        fill_once(forward, images, Path(folder))
    return watch.seconds


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, seconds=8.0, images=2048, repeats=3)
    table = Table("image px:>8", "images:>7", "images/s:>8", "matrix product GMAC/s:>21", "pass GMAC/s (share):>19",
                  "after folding GMAC/s (share):>28")  # fmt: skip
    for size in SIZES:
        first = one_pass(size, options.images)
        count = int(min(60_000, max(options.images, options.images / first * options.seconds)))
        products, rates = [], []
        for _ in range(options.repeats):
            products.append(matrix_product_rate(3) / 1e9)
            rates.append(count / one_pass(size, count))
        rate, product = statistics.median(rates), statistics.median(products)
        done = [rate * macs / 1e9 for macs in (sum(convolution_macs(size)), folded_macs(size))]
        shares = [f"{gmacs:.1f} ({gmacs / product:.2f})" for gmacs in done]
        table.row(size, f"{count:,}", f"{rate:,.0f}", f"{product:.1f}", *shares)
