"""Where the steps of the pipeline run: cache folder, device and progress display."""

from dataclasses import dataclass
from pathlib import Path

import torch

from frostline._utils.device import describe_device, pick_device
from frostline._utils.progress import Progress, log
from frostline._utils.storage import cache_dir as cache_folder


@dataclass(frozen=True)
class Context:
    """What every step needs and no result depends on.

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


def make_context(device: str, cache_dir: Path | str | None = None, progress: Progress | None = None) -> Context:
    """Return a context for a device as settings name it; what ``auto`` resolves to is logged.

    Raises
    ------
    ConfigError
        When there is no such device here.
    """
    picked = pick_device(device)
    if device == "auto":
        log.info("device: %s", describe_device(picked))
    return Context(cache_folder(cache_dir), picked, progress)
