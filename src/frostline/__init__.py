"""Transfer learning for image classification that runs the frozen layers once.

The names below are the public surface; each is imported when it is first used, so that
``import frostline`` stays light and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOME = {
    "Backbone": "frostline.networks.backbone",
    "Classifier": "frostline.runs.predict",
    "FrostlineError": "frostline.errors",
    "ImageDataset": "frostline.images.dataset",
    "Run": "frostline.runs.folder",
    "TrainConfig": "frostline.config",
    "fit": "frostline.runs.fit",
    "load_backbone": "frostline.networks.registry",
    "load_dataset": "frostline.images.registry",
}

__all__ = [
    "Backbone",
    "Classifier",
    "FrostlineError",
    "ImageDataset",
    "Run",
    "TrainConfig",
    "fit",
    "load_backbone",
    "load_dataset",
]

if TYPE_CHECKING:
    __version__: str
    from frostline.config import TrainConfig
    from frostline.errors import FrostlineError
    from frostline.images.dataset import ImageDataset
    from frostline.images.registry import load_dataset
    from frostline.networks.backbone import Backbone
    from frostline.networks.registry import load_backbone
    from frostline.runs.fit import fit
    from frostline.runs.folder import Run
    from frostline.runs.predict import Classifier


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # takes a third of the time that `frostline --help` does

        return version("frostline")
    if name not in _HOME:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
