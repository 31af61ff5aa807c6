"""What the benchmarks share: the machine's rate and description, medians, heads trained over several seeds."""

import importlib
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frostline import TrainConfig, fit
from frostline.activations.forward import FastForward
from frostline.device import describe_device
from frostline.images.dataset import ImageDataset
from frostline.images.views import THE_PICTURE, View
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


def metrics_of_seeds(seeds: int, folder: str, **settings: Any) -> list[dict[str, Any]]:
    """Train on Fashion-MNIST with seeds 0, 1, …, half of the images validating, and return each run's metrics."""
    found = []
    for seed in range(seeds):
        config = TrainConfig(data="fashion-mnist", val_fraction=0.5, seed=seed, **settings)
        found.append(fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache")).metrics)
    return found


class InMemory:
    """Rows of features (N, F) held as float16, as the cache keeps them."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows
        self.shape = tuple(rows.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: np.ndarray) -> torch.Tensor:
        """Return some rows as float32 (B, F)."""
        return self.rows[torch.from_numpy(indices)].float()

    def part(self, indices: np.ndarray) -> "InMemory":
        """Return some rows."""
        return InMemory(self.rows[torch.from_numpy(indices)])

    def last(self, count: int | None) -> "InMemory":
        """Return the last features of every row; all of them without a number."""
        return self if count is None else InMemory(self.rows[:, -count:])


def rows_of(forward: FastForward, images: ImageDataset, view: View = THE_PICTURE) -> InMemory:
    """Run the frozen stages over a view of a data set of equally sized images."""
    rows = []
    for start in range(0, len(images), 64):
        batch = forward.preprocess.resize(np.asarray(images.images[start : start + 64]))
        rows.append(forward(view(batch, images.row_ids[start : start + 64])).flatten(1).half())
    return InMemory(torch.cat(rows).clone())


def name_operators_of_torchvision() -> None:
    """Let torchvision be imported beside torch's build for processors alone, as the tests do."""
    sys.path.append(str(Path(__file__).parents[1]))
    importlib.import_module("tests.torchvision_operators.sitecustomize")
