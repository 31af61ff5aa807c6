"""The context of the pipeline's steps, and the settings of the frozen pass."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from frostline._utils.device import describe_device, pick_device
from frostline._utils.machine import cores
from frostline._utils.progress import Progress, log
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig


@dataclass(frozen=True)
class Context:
    """Cache folder, device and progress display: used by every step, without effect on results."""

    cache: Path
    device: torch.device
    progress: Progress | None = None
    engine: str = "auto"  # runs the frozen stages on the CPU; see `frostline.features.engine`


@dataclass(frozen=True)
class FeatureSettings:
    """How the frozen pass computes and caches features."""

    network: str  # name in the cache key
    dtype: str  # on disk: float16 or float32
    workers: int  # processes that decode image files
    views: int  # views of each training image, for the log

    @property
    def float32(self) -> "FeatureSettings":
        """The settings for the test split: full precision, so that `predict` returns the same probabilities."""
        return replace(self, dtype="float32")


def feature_settings(config: TrainConfig) -> FeatureSettings:
    """Return the frozen pass settings of a run."""
    return FeatureSettings(config.model, config.cache_dtype, config.workers or cores(), config.views or 1)


def make_context(
    device: str, cache_dir: Path | str | None = None, progress: Progress | None = None, engine: str = "auto"
) -> Context:
    """Return a context; log the device that ``auto`` resolves to.

    Raises
    ------
    ConfigError
        If the device is not available.
    """
    picked = pick_device(device)
    if device == "auto":
        log.debug("device: %s", describe_device(picked))
    return Context(cache_folder(cache_dir), picked, progress, engine)
