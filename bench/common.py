"""What the benchmarks share: the machine's matrix-product rate, medians, a description of the machine."""

import platform
import statistics
import time
from collections.abc import Callable

import torch

from frostline.device import describe_device
from frostline.networks.describe import describe
from frostline.networks.registry import outline

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def machine() -> str:
    return f"{describe_device(torch.device('cpu'))}, torch {torch.__version__}, {platform.system()}"


def seconds_of(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the median time of some work, after one run that warms up."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def matrix_product_rate(repeats: int = 5) -> float:
    """Return multiply-accumulates per second of a 4096 x 4096 x 4096 fp32 product: the machine's yardstick."""
    a, b = torch.randn(4096, 4096), torch.randn(4096, 4096)
    return 4096**3 / seconds_of(lambda: a @ b, repeats)


def convolution_macs(image_size: int) -> int:
    """Return the multiply-accumulates of AlexNet's five convolution stages, as `frostline models show` counts them."""
    stages = [(name, stage) for name, stage in outline("alexnet").stages.items() if name in CONVS]
    return sum(facts.multiply_accumulates for facts in describe(stages, image_size))
