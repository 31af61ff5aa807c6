"""Where the steps of the pipeline run, and how features are computed and cached."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from frostline._utils.device import cores, describe_device, pick_device
from frostline._utils.progress import Progress, log
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig


@dataclass(frozen=True)
class Context:
    """Cache folder, device and progress display: every step needs them, and no result depends on them.

    Attributes
    ----------
    cache : Path
        Frostline's cache folder.
    device : torch.device
    progress : Progress or None
        Draws bars; ``None`` is silent.
    """

    cache: Path
    device: torch.device
    progress: Progress | None = None


@dataclass(frozen=True)
class FeatureSettings:
    """How the frozen pass computes and caches features.

    Attributes
    ----------
    network : str
        The network's name, for the cache key.
    dtype : str
        ``float16`` or ``float32``: precision on disk.
    workers : int
        Processes that decode image files.
    views : int
        Views of each training image, for the log.
    """

    network: str
    dtype: str
    workers: int
    views: int

    @property
    def float32(self) -> "FeatureSettings":
        """The settings for the test split: full precision, so that `predict` gives the same probabilities."""
        return replace(self, dtype="float32")


def feature_settings(config: TrainConfig) -> FeatureSettings:
    """Return the settings of a run's frozen pass."""
    return FeatureSettings(config.model, config.cache_dtype, config.workers or cores(), config.views or 1)


def make_context(device: str, cache_dir: Path | str | None = None, progress: Progress | None = None) -> Context:
    """Return a context for a device as settings name it; what ``auto`` resolves to is logged.

    Raises
    ------
    ConfigError
        When the device is not available.
    """
    picked = pick_device(device)
    if device == "auto":
        log.info("device: %s", describe_device(picked))
    return Context(cache_folder(cache_dir), picked, progress)
