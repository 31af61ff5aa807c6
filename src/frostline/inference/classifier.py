"""Predicting with a finished run, and evaluating it again."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline._utils.device import pick_device
from frostline._utils.hashing import row_ids_of_pixels
from frostline._utils.machine import cores
from frostline._utils.progress import Progress, log
from frostline._utils.text import few, html_table, printable
from frostline.data.augment import THE_IMAGE, Augment, View
from frostline.data.inputs import Images, as_images, read_pixels
from frostline.data.registry import check_data, load_configured, redirected
from frostline.errors import ConfigError, RunError
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.metrics import evaluate
from frostline.evaluation.rejection import Rejection, calibrate_rejection, check_share, named
from frostline.features.compile import Engine
from frostline.features.forward import FastForward
from frostline.inference.probabilities import Probabilities
from frostline.models.backbone import Backbone
from frostline.pipeline.context import feature_settings, make_context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.resolve import RunSplits, split
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run
from frostline.training.examples import Examples
from frostline.training.trainer import predict_logits

# Test-time augmentation only moves images, and its second view is nothing but the mirror image.
MOVES_ONLY = {"crop": 0.0, "brightness": 0.0, "contrast": 0.0, "erase": 0.0}
MIRROR_ONLY = MOVES_ONLY | {"rotation": 0.0, "shift": 0.0, "scale": 0.0}


class Classifier:
    """A trained model for prediction.

    Parameters
    ----------
    model : Model
        Network, boundary, preprocessing, head and class names; its modules are moved to ``device``.
    device : str
        ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.

    Attributes
    ----------
    class_names : tuple of str
        In the order of the probabilities.
    network : Probabilities
        Pixels to probabilities, computed by torch.
    engine : callable
        Computes the same as ``network``, which it is unless another engine takes its place
        (`frostline.serve.engine`).
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.model = model
        self.class_names = model.class_names
        self.network = Probabilities(model, pick_device(device))
        self.engine: Engine = self.network
        self._run: Run | None = None

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu", backbone: Backbone | None = None) -> "Classifier":
        """Load the model of a finished run.

        Parameters
        ----------
        folder : path
            The run folder, ``runs/NAME``, or its bundle, ``runs/NAME/model``.
        device : str
            ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.
        backbone : Backbone, optional
            The network, required if it was passed to `frostline.fit`. Only its architecture is used, and it is not
            modified: the weights are those of the bundle.

        Returns
        -------
        Classifier

        Raises
        ------
        RunError
            When the folder contains no model, a file of it is missing, damaged or of another version, or ``backbone``
            is missing or another network than the run's.
        ConfigError
            When the network's package is not installed, or the device is unknown or not available.
        """
        classifier = cls(load_bundle(Path(folder), backbone), device)
        classifier._run = Run(folder)
        return classifier

    def __repr__(self) -> str:
        model, size = self.model, self.model.preprocess.image_size
        return printable(
            f"Classifier({model.backbone.name} at {size} px, {len(self.class_names)} classes: {few(self.class_names)})"
        )

    def _repr_html_(self) -> str:
        model = self.model
        facts = {
            "network": model.backbone.name,
            "weights": model.backbone.origin.name if model.backbone.origin else "unknown",
            "image size": f"{model.preprocess.image_size} px",
            "frozen up to": model.boundary.freeze,
            "head": model.head.spec.kind,
            "classes": f"{len(self.class_names)}: {few(self.class_names)}",
        }
        return html_table("Classifier", facts)

    @property
    def batch_size(self) -> int:
        """Number of images that are computed together."""
        return self.network.forward.batch_size

    @torch.inference_mode()
    def predict_proba(self, images: Images, tta: int = 1) -> NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        images : path, PIL image, uint8 array, or several of them
            One or many; see `frostline.data.inputs.as_images`.
        tta : int
            Test-time augmentation: number of views of each image to average over, the image included (`tta_views`).

        Returns
        -------
        ndarray of float32, shape (N, classes)

        Raises
        ------
        DataError
            When a file is not a readable image, or an array has another type or shape.
        ConfigError
            When ``tta`` is below 1.
        """
        images, preprocess = as_images(images), self.model.preprocess
        views = tta_views(tta, mirror=self.model.mirror)
        parts = [np.empty((0, len(self.class_names)), np.float32)]
        for start in range(0, len(images), self.batch_size):
            batch = read_pixels(images[start : start + self.batch_size], preprocess.target, preprocess.levels)
            resized = preprocess.resize(batch)  # (B, C, S, S)
            row_ids = _row_ids(batch) if tta > 1 else []
            probabilities = [
                self.engine(view(resized, row_ids if view.number else []))  # (B, classes)
                for view in views
            ]
            parts.append(torch.stack(probabilities).mean(0).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, images: Images, reject: float | None = None) -> NDArray[np.str_]:
        """Return the name of the most probable class of each image.

        Parameters
        ----------
        images
            See `predict_proba`.
        reject : float, optional
            Return ``"unknown"`` below the confidence that rejects at most this proportion of the validation images,
            0 to 0.5 (`frostline.evaluation.rejection`).

        Raises
        ------
        DataError
            As `predict_proba`.
        RunError, ConfigError
            As `threshold`, if ``reject`` is given.
        """
        threshold = None if reject is None else self.threshold(reject)
        return named(self.predict_proba(images), self.class_names, threshold)

    def threshold(self, reject: float) -> float:
        """Return the confidence below which a prediction counts as unknown; see `frostline.evaluation.rejection`.

        Raises
        ------
        RunError
            When the model has no thresholds because an earlier version of Frostline saved it.
        ConfigError
            When ``reject`` is not from 0 to 0.5.
        """
        check_share(reject)
        return self.rejection.threshold(reject)

    @property
    def rejection(self) -> Rejection:
        """Confidence thresholds by proportion of rejected validation images; raises RunError as `threshold`."""
        rejection = self.model.rejection
        if rejection is None and self._run is not None and self._run.has(self._run.evidence.name):
            rejection = calibrate_rejection(read_evidence(self._run).val.probabilities)  # an earlier version's run
        if rejection is None:
            raise RunError(
                "this model has no confidence thresholds for rejection (an earlier version saved it): "
                "train it again with this version."
            )
        return rejection


def tta_views(tta: int, *, mirror: bool = True) -> list[View]:
    """Return the views of test-time augmentation: the image, its mirror image, then mild augmentations.

    They only depend on their number and on ``mirror``, so they are the same for every run.

    Raises ConfigError when ``tta`` is below 1.
    """
    if tta < 1:
        raise ConfigError(f"--tta {tta}: expected the number of views, 1 (the image alone) or more.")
    mild = Augment(flip=0.5 if mirror else 0.0, rotation=4.0, shift=0.03, scale=0.05, **MOVES_ONLY)
    first = Augment(flip=1.0, **MIRROR_ONLY) if mirror else mild
    return [THE_IMAGE, View(1, 0, first), *(View(number, 0, mild) for number in range(2, tta))][:tta]


def _row_ids(batch: NDArray[np.uint8] | list[NDArray[np.uint8]]) -> list[bytes]:
    if isinstance(batch, np.ndarray):
        return row_ids_of_pixels(batch)
    return [row_ids_of_pixels(image[None])[0] for image in batch]


def evaluate_run(
    run: Run,
    *,
    tta: int = 1,
    data: Path | str | None = None,
    backbone: Backbone | None = None,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Evaluate a finished run's model again on its validation and test splits, using cached features.

    Parameters
    ----------
    run : Run
    tta : int
        Test-time augmentation: number of views to average over (`tta_views`).
    data : path, optional
        New place of the run's images, if they were moved.
    backbone : Backbone, optional
        The network, if it was passed to `frostline.fit`.
    cache_dir : path, optional
    progress : Progress, optional

    Returns
    -------
    dict
        ``val`` and ``test`` (None without a test split), as in ``metrics.json``; without test-time augmentation also
        ``calibration``.

    Raises
    ------
    RunError, DataError, StorageError, ConfigError
    """
    config = redirected(run.config.model_copy(update={"workers": cores()}), data, run.name)
    check_data(config.data)
    context = make_context(config.device, cache_dir, progress, config.engine)
    model = load_bundle(run.model_folder, backbone)
    views = tta_views(tta, mirror=model.mirror)
    splits = split(load_configured(config, context.cache, context.progress), config)
    _compare_data(run, model, splits)
    forward = FastForward(model.frozen, model.preprocess, context.device)
    trained = model.trained.to(context.device).eval()
    predicted: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
    cached = feature_settings(config)
    for name, dataset, settings in (("val", splits.val, cached), ("test", splits.test, cached.float32)):
        if not len(dataset):
            continue
        probabilities = []
        for view in views:
            (rows,), _ = read_rows((dataset,), forward, settings, context, view)
            probabilities.append(predict_logits(trained, Examples(rows, dataset.labels)).softmax(1).numpy())
        predicted[name] = (np.mean(probabilities, axis=0), dataset.labels)
    results: dict[str, Any] = {"test": None}
    results |= {name: evaluate(*pair, model.class_names) for name, pair in predicted.items()}
    if tta == 1 and model.temperature is not None:
        results["calibration"] = before_and_after(model.temperature, predicted)
    return results


def _compare_data(run: Run, model: Model, splits: RunSplits) -> None:
    """Refuse a data set with other classes than the run's; warn if its images changed."""
    if splits.test.class_names != model.class_names:
        raise RunError(
            f"run '{run.name}' has the classes {', '.join(model.class_names)}, and {run.config.data} now has "
            f"{', '.join(splits.test.class_names)}: train again, or restore the data set."
        )
    before = run.metrics["data"]["fingerprint"]
    for name, word, dataset in (("val", "validation", splits.val), ("test", "test", splits.test)):
        if dataset.fingerprint != before[name]:
            log.warning(
                "the %s split differs from that of run '%s': images were added, removed or changed", word, run.name
            )
