"""Transfer learning for image classification that runs the frozen layers once.

The names below are the public surface; each is imported when it is first used, so that
``import frostline`` stays light and does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

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
    "frostline.studies.audit.audit": ("audit",),
    "frostline.studies.lr_finder": ("find_lr",),
    "frostline.studies.tune": ("tune",),
    "frostline.exporters.export": ("export",),
    "frostline.data.arrays": (
        "from_arrays",
        "from_hugging_face",
    ),
    "frostline.data.dataset": (
        "ImageDataset",
        "Splits",
    ),
    "frostline.data.registry": (
        "from_folder",
        "from_table",
        "load_dataset",
    ),
    "frostline.models.backbone": ("Backbone",),
    "frostline.models.registry": ("load_backbone",),
    "frostline.report.comparison": ("compare",),
    "frostline.inference.explain": ("Explainer",),
    "frostline.inference.onnx": ("OnnxClassifier",),
    "frostline.runs.fit": ("fit",),
    "frostline.runs.folder": ("Run",),
    "frostline.inference.classifier": ("Classifier",),
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
    from frostline.config import TrainConfig
    from frostline.data.arrays import from_arrays, from_hugging_face
    from frostline.data.dataset import ImageDataset, Splits
    from frostline.data.registry import from_folder, from_table, load_dataset
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
    from frostline.exporters.export import export
    from frostline.inference.classifier import Classifier
    from frostline.inference.explain import Explainer
    from frostline.inference.onnx import OnnxClassifier
    from frostline.models.backbone import Backbone
    from frostline.models.registry import load_backbone
    from frostline.report.comparison import compare
    from frostline.runs.fit import fit
    from frostline.runs.folder import Run
    from frostline.studies.audit.audit import audit
    from frostline.studies.lr_finder import find_lr
    from frostline.studies.tune import tune


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'frostline' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
