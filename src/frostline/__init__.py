"""Transfer learning for image classification that runs the frozen layers once.

The names below are the public surface; each is imported when it is first used, so that
``import frostline`` stays light and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_NAMES = {
    "frostline.config": ("TrainConfig",),
    "frostline.errors": (
        "ConfigError",
        "DataError",
        "DivergedError",
        "DownloadError",
        "ExportError",
        "FrostlineError",
        "InputError",
        "RunError",
        "StorageError",
        "UnknownNameError",
        "WeightsError",
    ),
    "frostline.experiments.audit.audit": ("audit",),
    "frostline.experiments.find_lr": ("find_lr",),
    "frostline.experiments.tune": ("tune",),
    "frostline.exporting.deliver": ("export",),
    "frostline.images.arrays": (
        "from_arrays",
        "from_hugging_face",
    ),
    "frostline.images.dataset": (
        "ImageDataset",
        "Splits",
    ),
    "frostline.images.registry": (
        "from_folder",
        "from_table",
        "load_dataset",
    ),
    "frostline.networks.backbone": ("Backbone",),
    "frostline.networks.registry": ("load_backbone",),
    "frostline.report.comparison": ("compare",),
    "frostline.report.explain": ("Explainer",),
    "frostline.runs.exported": ("OnnxClassifier",),
    "frostline.runs.fit": ("fit",),
    "frostline.runs.folder": ("Run",),
    "frostline.runs.predict": ("Classifier",),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "Backbone",
    "Classifier",
    "ConfigError",
    "DataError",
    "DivergedError",
    "DownloadError",
    "Explainer",
    "ExportError",
    "FrostlineError",
    "ImageDataset",
    "InputError",
    "OnnxClassifier",
    "Run",
    "RunError",
    "Splits",
    "StorageError",
    "TrainConfig",
    "UnknownNameError",
    "WeightsError",
    "audit",
    "compare",
    "export",
    "find_lr",
    "fit",
    "from_arrays",
    "from_folder",
    "from_hugging_face",
    "from_table",
    "load_backbone",
    "load_dataset",
    "tune",
]

if TYPE_CHECKING:
    __version__: str
    from frostline.config import TrainConfig
    from frostline.errors import (
        ConfigError,
        DataError,
        DivergedError,
        DownloadError,
        ExportError,
        FrostlineError,
        InputError,
        RunError,
        StorageError,
        UnknownNameError,
        WeightsError,
    )
    from frostline.experiments.audit.audit import audit
    from frostline.experiments.find_lr import find_lr
    from frostline.experiments.tune import tune
    from frostline.exporting.deliver import export
    from frostline.images.arrays import from_arrays, from_hugging_face
    from frostline.images.dataset import ImageDataset, Splits
    from frostline.images.registry import from_folder, from_table, load_dataset
    from frostline.networks.backbone import Backbone
    from frostline.networks.registry import load_backbone
    from frostline.report.comparison import compare
    from frostline.report.explain import Explainer
    from frostline.runs.exported import OnnxClassifier
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
