"""Does the frozen pass take more memory for more images?

    python -m bench memory [--images 20000] [--image-size 64]

Peak resident memory of a pass over `--images` images of Fashion-MNIST and over three times as many, each in a process
of its own with an empty cache. Asserts that the second is at most 10 % larger.

About 2 minutes on 2 cores.
"""

import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.common.features import fill_once, frozen_alexnet
from bench.common.machine import MIB
from bench.common.options import start
from frostline._utils.machine import peak_memory_bytes
from frostline.data.fashion_mnist import load


def peak(count: int, image_size: int) -> int:
    """Return the peak memory of this process after a pass."""
    with tempfile.TemporaryDirectory() as folder:
        fill_once(frozen_alexnet(image_size=image_size), load().train.subset(np.arange(count)), Path(folder))
    return peak_memory_bytes()


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=20_000, image_size=64)
    peaks = []
    for count in (options.images, 3 * options.images):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks.append(pool.apply(peak, (count, options.image_size)))
        print(f"{count:,} images at {options.image_size} px: peak {peaks[-1] / MIB:.0f} MiB", flush=True)
    growth = peaks[1] / peaks[0] - 1
    print(f"growth {growth:+.1%}")
    assert growth <= 0.10, "memory grows with the number of images"
