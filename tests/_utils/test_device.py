"""Devices and seeds."""

import random
import re

import numpy as np
import pytest
import torch

from frostline._utils.device import describe_device, pick_device, seed_everything
from frostline.errors import ConfigError


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


@pytest.mark.parametrize(("name", "rounded"), [("cuda", False), ("cpu", True)])
def test_cuda_computes_in_float32(monkeypatch: pytest.MonkeyPatch, name: str, rounded: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    pick_device(name)
    assert torch.backends.cudnn.allow_tf32 is rounded


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
