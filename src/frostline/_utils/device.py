"""Device selection and seeding."""

import platform
import random

import numpy as np
import torch

from frostline.errors import ConfigError, UnknownNameError


def pick_device(name: str = "cpu") -> torch.device:
    """Return the named device; ``auto`` is CUDA, else MPS, else the CPU.

    On CUDA, cuDNN computes in float32 from then on. By default it rounds to TF32, and features in the cache would
    differ from those of a CPU.

    Raises
    ------
    ConfigError
        If the name is unknown or this machine has no such device.
    """
    ready = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if ready[kind])
    if name not in ready:
        raise UnknownNameError("device", name, ["auto", *ready])
    if not ready[name]:
        usable = ", ".join(kind for kind, available in ready.items() if available)
        raise ConfigError(f"device '{name}' is not available: use --device {usable}.")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Return a description, e.g. ``cpu (AMD EPYC, 2 threads)``."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({_processor()}, {torch.get_num_threads()} threads)"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        return names[0] if names else platform.machine()
    except OSError:
        return platform.processor() or platform.machine()


def half_precision(device: torch.device) -> torch.dtype | None:
    """Return the 16-bit type that speeds up training on a device, or ``None``.

    A processor that emulates bfloat16 takes 44 to 499 times as long (pytorch/pytorch#146508).
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    native = device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return torch.bfloat16 if native else None


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
