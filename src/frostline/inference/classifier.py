"""Using a finished run: class probabilities for new images, and its test result measured again."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from frostline._utils.device import cores, pick_device
from frostline._utils.hashing import row_ids_of_pixels
from frostline._utils.progress import Progress, log
from frostline._utils.text import few, html_table, printable
from frostline.data.augment import THE_IMAGE, Augment, View
from frostline.data.inputs import Images, as_images, read_pixels
from frostline.data.registry import check_data, redirected
from frostline.errors import ConfigError, RunError
from frostline.evaluation.calibration import before_and_after
from frostline.evaluation.metrics import evaluate
from frostline.evaluation.rejection import Rejection, calibrate_rejection, check_share, named
from frostline.features.forward import FastForward
from frostline.models.backbone import Backbone
from frostline.pipeline.context import feature_settings, make_context
from frostline.pipeline.extract import read_rows
from frostline.pipeline.resolve import RunSplits, load_images, split
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.evidence import read_evidence
from frostline.runs.folder import Run
from frostline.training.examples import Examples
from frostline.training.trainer import predict_logits

STEADY = {"crop": 0.0, "brightness": 0.0, "contrast": 0.0, "erase": 0.0}
STILL = STEADY | {"rotation": 0.0, "shift": 0.0, "scale": 0.0}


class Classifier:
    """A trained model, ready to predict.

    Parameters
    ----------
    model : Model
        Network, boundary, preprocessing, head and class names.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self.model = model
        self.class_names = model.class_names
        self._device = pick_device(device)
        self._forward = FastForward(model.frozen, model.preprocess, self._device)
        self._trained = model.trained.to(self._device).eval()
        self._run: Run | None = None

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu", backbone: Backbone | None = None) -> "Classifier":
        """Load from a run folder, or from its ``model`` folder.

        Parameters
        ----------
        folder : path
        device : str
            ``auto``, ``cpu``, ``cuda`` or ``mps``.
        backbone : Backbone, optional
            The network, where `frostline.fit` was given one; its weights are those of the run.

        Raises
        ------
        RunError
            When there is no whole model.
        ConfigError
            When the package that the network comes from is not installed.
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
        """How many images are computed together."""
        return self._forward.batch_size

    @torch.inference_mode()
    def predict_proba(self, images: Images, tta: int = 1) -> NDArray[np.float32]:
        """Return class probabilities.

        Parameters
        ----------
        images : path, PIL image, uint8 array, or several of them
            One or many; see `frostline.data.inputs.as_images`.
        tta : int
            Test-time augmentation: the mean over so many views of each image, itself included (`tta_views`).

        Returns
        -------
        ndarray of float32, shape (N, classes)

        Raises
        ------
        DataError
            When a file is no readable image, or pixels are of another type or shape.
        """
        images, preprocess = as_images(images), self.model.preprocess
        parts = [np.empty((0, len(self.class_names)), np.float32)]
        for start in range(0, len(images), self._forward.batch_size):
            some = images[start : start + self._forward.batch_size]
            batch = read_pixels(some, preprocess.image_size, preprocess.levels)
            resized = preprocess.resize(batch)  # (B, C, S, S)
            seen = [
                self._trained(self._forward(view(resized, _row_ids(batch) if view.number else []))).softmax(1)
                for view in tta_views(tta, mirror=self.model.mirror)
            ]
            parts.append(torch.stack(seen).mean(0).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, images: Images, reject: float | None = None) -> NDArray[np.str_]:
        """Return the most probable class's name for each image.

        Parameters
        ----------
        images
            See `predict_proba`.
        reject : float, optional
            Return ``"unknown"`` below the confidence that loses at most this share of the validation images
            (`frostline.evaluation.rejection`).

        Raises
        ------
        DataError
            As `predict_proba`.
        RunError
            When ``reject`` is given and the model knows no such confidence.
        """
        threshold = None if reject is None else self.threshold(reject)
        return named(self.predict_proba(images), self.class_names, threshold)

    def threshold(self, reject: float) -> float:
        """Return the confidence below which an answer counts as unknown; see `frostline.evaluation.rejection`.

        Raises
        ------
        RunError
            When the model knows none: an earlier version of Frostline saved it.
        ConfigError
            When ``reject`` is no share from 0 to 0.5.
        """
        check_share(reject)
        return self.rejection.threshold(reject)

    @property
    def rejection(self) -> Rejection:
        """What the validation split says of confidence; see `threshold` for what is raised."""
        rejection = self.model.rejection
        if rejection is None and self._run is not None and self._run.has(self._run.evidence.name):
            rejection = calibrate_rejection(read_evidence(self._run).val.probabilities)  # an earlier version's run
        if rejection is None:
            raise RunError(
                "this model does not know below which confidence to reject (an earlier version saved it): "
                "train it again with this version."
            )
        return rejection


def tta_views(tta: int, *, mirror: bool = True) -> list[View]:
    """Return the views that test-time augmentation averages over: the image itself, its mirror image, then mild ones.

    A view of an image is the same in every run: it depends on nothing but its number, and on whether mirror images
    are wanted.

    Raises
    ------
    ConfigError
        When there are none.
    """
    if tta < 1:
        raise ConfigError(f"--tta {tta}: expected the number of views, 1 (the image alone) or more.")
    mild = Augment(flip=0.5 if mirror else 0.0, rotation=4.0, shift=0.03, scale=0.05, **STEADY)
    first = Augment(flip=1.0, **STILL) if mirror else mild
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
    """Measure a finished run's model again on its validation split and on the test split it was judged by.

    Kept activations are used.

    Parameters
    ----------
    tta : int
        Test-time augmentation: mean probabilities over so many views (`tta_views`).
    data : path, optional
        Where the images are now, if they were moved.
    backbone : Backbone, optional
        The network, where `frostline.fit` was given one.

    Returns
    -------
    dict
        ``val`` and ``test`` (``None`` where the run has no test split), as in ``metrics.json``; without further
        views ``calibration`` too.

    Raises
    ------
    RunError, DataError, StorageError, ConfigError
    """
    config = redirected(run.config.model_copy(update={"workers": cores()}), data, run.name)
    check_data(config.data)
    context = make_context(config.device, cache_dir, progress)
    model = load_bundle(run.model_folder, backbone)
    views = tta_views(tta, mirror=model.mirror)
    splits = split(load_images(config, context), config)
    _compare_data(run, model, splits)
    forward = FastForward(model.frozen, model.preprocess, context.device)
    trained = model.trained.to(context.device).eval()
    predicted: dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]] = {}
    cached = feature_settings(config)
    for name, dataset, settings in (("val", splits.val, cached), ("test", splits.test, cached.float32)):
        if not len(dataset):
            continue
        seen = []
        for view in views:
            (rows,), _ = read_rows((dataset,), forward, settings, context, view)
            seen.append(predict_logits(trained, Examples(rows, dataset.labels)).softmax(1).numpy())
        predicted[name] = (np.mean(seen, axis=0), dataset.labels)
    results: dict[str, Any] = {"test": None}
    results |= {name: evaluate(*pair, model.class_names) for name, pair in predicted.items()}
    if tta == 1 and model.temperature is not None:
        results["calibration"] = before_and_after(model.temperature, predicted)
    return results


def _compare_data(run: Run, model: Model, splits: RunSplits) -> None:
    """Refuse a data set with other classes than the run's, and say when its images are others."""
    if splits.test.class_names != model.class_names:
        raise RunError(
            f"run '{run.name}' knows the classes {', '.join(model.class_names)}, and {run.config.data} now has "
            f"{', '.join(splits.test.class_names)}: train again, or put back what was there."
        )
    before = run.metrics["data"]["fingerprint"]
    for name, part in (("validation", splits.val), ("test", splits.test)):
        if part.fingerprint != before["val" if name == "validation" else name]:
            log.warning("the %s split is not the one that run '%s' had: images came, went or changed", name, run.name)
