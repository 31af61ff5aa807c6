"""The machine: its description and its own speed, against which a pass over images is measured."""

import platform
from pathlib import Path

import torch

from bench.common.timing import median_seconds
from frostline._utils.device import describe_device
from frostline._utils.machine import cores
from frostline.models.backbone import describe
from frostline.models.registry import outline

CONVS = ("conv1", "conv2", "conv3", "conv4", "conv5")
GIB, MIB = 1 << 30, 1 << 20
# What decides how fast convolutions and matrix products are, by Linux's names.
FLAGS = {
    "avx2": {"avx2"},
    "avx512": {"avx512f"},
    "bf16": {"avx512_bf16"},
    "vnni": {"avx512_vnni", "avx_vnni"},
    "amx": {"amx_tile"},
}


def describe_machine() -> str:
    """Return the processor's name, flags, cores and threads, and the versions of torch and the system."""
    return (
        f"{describe_device(torch.device('cpu'))}, {cores()} cores, {_flags()}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def _flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "flags unknown"
    found = next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), None)
    if found is None:  # another architecture
        return platform.machine()
    there = [name for name, names in FLAGS.items() if names & found]
    missing = [name for name in FLAGS if name not in there]
    return " ".join([*there, *(f"no-{name}" for name in missing)])


def matrix_product_rate(repeats: int = 5) -> float:
    """Return multiply-accumulates per second of a 4096 x 4096 x 4096 float32 product: the machine's yardstick."""
    a, b = torch.randn(4096, 4096), torch.randn(4096, 4096)
    return 4096**3 / median_seconds(lambda: a @ b, repeats)


def convolution_macs(image_size: int) -> list[int]:
    """Return the multiply-accumulates of AlexNet's five convolution stages, as `frostline models show` counts them."""
    stages = [(name, stage) for name, stage in outline("alexnet").stages.items() if name in CONVS]
    return [facts.multiply_accumulates for facts in describe(stages, image_size)]
