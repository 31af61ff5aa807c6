"""Does the frozen pass take more memory for more images? Peak resident memory of a pass over 20,000 and over 60,000.

    python bench/memory.py [--image-size 64]

Each pass is a process of its own with an empty cache. Asserts that the two agree within 10 %.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path

MIB = 1 << 20


def peak(count: int, image_size: int) -> int:
    import numpy as np
    import torch

    from common import CONVS
    from frostline.activations.fill import fill
    from frostline.activations.forward import FastForward
    from frostline.activations.spec import spec_of
    from frostline.device import peak_memory_bytes
    from frostline.images.fashion_mnist import load
    from frostline.images.preprocess import Preprocess
    from frostline.networks.boundary import Frozen, make_boundary
    from frostline.networks.registry import load_backbone, outline

    images = load().train.subset(np.arange(count))
    frozen = Frozen(load_backbone(weights="random"), make_boundary(outline("alexnet"), "conv5", CONVS))
    preprocess = Preprocess(image_size)
    with tempfile.TemporaryDirectory() as folder:
        forward = FastForward(frozen, preprocess, torch.device("cpu"))
        fill([images], forward, spec_of("alexnet", frozen, preprocess, "float16"), Path(folder))
    return peak_memory_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image-size", type=int, default=64)
    options = parser.parse_args()
    peaks = {}
    for count in (20_000, 60_000):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[count] = pool.apply(peak, (count, options.image_size))
        print(f"{count:,} images at {options.image_size} px: peak {peaks[count] / MIB:.0f} MiB", flush=True)
    growth = peaks[60_000] / peaks[20_000] - 1
    print(f"growth {growth:+.1%}")
    assert abs(growth) <= 0.10, "the frozen pass does not stay flat"


if __name__ == "__main__":
    main()
