"""Using a finished run: class probabilities for new pictures, and its test result measured again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline.activations.forward import FastForward
from frostline.device import cores, pick_device
from frostline.errors import DataError
from frostline.evaluation.metrics import evaluate
from frostline.images.dataset import check_pixels
from frostline.images.decode import SUFFIXES, decode_image
from frostline.images.registry import load_dataset
from frostline.progress import Progress
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.choose import split
from frostline.runs.fit import activations, probabilities
from frostline.runs.folder import Run
from frostline.storage import cache_dir as cache_folder
from frostline.training.examples import Examples

Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8] | Path | str]


class Classifier:
    """A trained model, ready to predict.

    Parameters
    ----------
    model : Model
        Network, boundary, preprocessing, head and class names.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.model = model
        self.class_names = model.class_names
        self._device = pick_device(device)
        self._forward = FastForward(model.frozen, model.preprocess, self._device)
        self._trained = model.trained.to(self._device).eval()

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu") -> "Classifier":
        """Load from a run folder, or from its ``model`` folder.

        Raises
        ------
        RunError
            When there is no whole model.
        """
        folder = Path(folder)
        inner = folder / "model"
        return cls(load_bundle(inner if inner.is_dir() else folder), device)

    @torch.inference_mode()
    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        images : ndarray of uint8, or a sequence
            (N, H, W) or (N, H, W, 3) pixels; or N items, each a file's path or pixels (H, W) or (H, W, 3).

        Returns
        -------
        ndarray of float32, shape (N, classes)

        Raises
        ------
        DataError
            When a file is no readable picture, or pixels are of another type or shape.
        """
        parts = [np.empty((0, len(self.class_names)), np.float32)]
        for start in range(0, len(images), self._forward.batch_size):
            batch = _pixels(images[start : start + self._forward.batch_size])
            rows = self._forward(self.model.preprocess.resize(batch))
            parts.append(self._trained(rows).softmax(1).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, images: Images) -> NDArray[np.str_]:
        """Return the most probable class's name for each image; see `predict_proba` for what may come in."""
        names: NDArray[np.str_] = np.array(self.class_names)[self.predict_proba(images).argmax(1)]
        return names


def _pixels(images: Images) -> NDArray[np.uint8] | list[NDArray[np.uint8]]:
    if isinstance(images, np.ndarray):
        return check_pixels(images)
    return [
        decode_image(Path(image)) if isinstance(image, str | Path) else check_pixels(np.asarray(image)[None])[0]
        for image in images
    ]


def picture_files(paths: Sequence[Path]) -> list[Path]:
    """Return the picture files among paths; folders are searched through, by file ending.

    Raises
    ------
    DataError
        When a path does not exist, or no picture is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no file or folder {path}: check the path.")
    if not found:
        raise DataError(f"no pictures in {', '.join(map(str, paths))}: expected {', '.join(sorted(SUFFIXES))}.")
    return found


def evaluate_run(run: Run, *, cache_dir: Path | str | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """Measure a finished run's model again on the test split it was judged by; kept activations are used.

    Raises
    ------
    RunError, DataError, StorageError
    """
    config, cache = run.config, cache_folder(cache_dir)
    model = load_bundle(run.model_folder)
    device = pick_device(config.device)
    parts = split(load_dataset(config.data, config.data_dir, cache_dir=cache, progress=progress), config)
    forward = FastForward(model.frozen, model.preprocess, device)
    (rows,), _ = activations([parts.test], forward, config.model_copy(update={"workers": cores()}), cache, progress)
    examples = Examples(rows, parts.test.labels)
    return evaluate(probabilities(model.trained.to(device).eval(), examples), examples.labels, model.class_names)
