"""Devices, seeds, memory."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from frostline._utils.device import cores, describe_device, peak_memory_bytes, pick_device, seed_everything
from frostline.errors import ConfigError

MEBIBYTE = 1 << 20


def test_cpu_is_always_available() -> None:
    assert pick_device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("available", "picked"), [(("cuda", "mps"), "cuda"), (("cuda",), "cuda"), (("mps",), "mps"), ((), "cpu")]
)
def test_auto_prefers_cuda_then_mps_then_cpu(
    monkeypatch: pytest.MonkeyPatch, available: tuple[str, ...], picked: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in available)
    assert pick_device("auto") == torch.device(picked)


def test_the_device_under_test_is_there_and_has_a_name(device: torch.device) -> None:
    assert pick_device(device.type) == device
    assert describe_device(device).startswith(f"{device.type} (")


def test_missing_device_is_refused_with_the_available_ones() -> None:
    missing = "cuda" if torch.backends.mps.is_available() else "mps"
    with pytest.raises(ConfigError, match=rf"^device '{missing}' is not available: use --device cpu"):
        pick_device(missing)


def test_description_names_processor_and_threads() -> None:
    assert re.fullmatch(rf"cpu \(.+, {torch.get_num_threads()} threads\)", describe_device(torch.device("cpu")))


def draw(seed: int) -> tuple[float, float, float]:
    seed_everything(seed)
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_seed_reaches_python_numpy_and_torch() -> None:
    first, again, other = draw(5), draw(5), draw(6)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_largest_allowed_seed_is_accepted() -> None:
    assert draw(2**63 - 1) == draw(2**63 - 1)


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_peak_memory_includes_freed_memory() -> None:
    code = """
from frostline._utils.device import peak_memory_bytes
before = peak_memory_bytes()
block = bytes(range(256)) * (200 * 4096)  # 200 MiB
del block
print(peak_memory_bytes() - before)
"""
    grown = int(run_python(code)) / MEBIBYTE
    assert 190 <= grown <= 260


def test_peak_memory_excludes_the_parent_process() -> None:
    code = """
import subprocess, sys
block = bytes(range(256)) * (768 * 4096)  # 768 MiB
child = "from frostline._utils.device import peak_memory_bytes; print(peak_memory_bytes())"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
"""
    assert int(run_python(code)) / MEBIBYTE < 700


def test_cores_respect_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from frostline._utils.device import cores; "
    assert run_python(code + "print(cores())") == "1\n"
    assert cores() >= 1


def test_peak_memory_of_this_process_is_plausible() -> None:
    assert 50 * MEBIBYTE < peak_memory_bytes() < 64 * 1024 * MEBIBYTE
