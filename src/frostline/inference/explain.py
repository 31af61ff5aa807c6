"""Explanations of predictions: saliency maps (Grad-CAM, HiResCAM) and the nearest training images.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391) weights each channel of a feature map by the mean gradient of a
class's logit; the weighted sum is a signed map, positive where the image supports the class. HiResCAM (Draelos and
Carin 2020, arXiv:2011.08891) weights each position by its own gradient, which is more faithful for heads that
distinguish positions, as Frostline's do. The head reads pooled taps of several stages; the gradient covers all of them.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from frostline._utils.device import pick_device
from frostline.data.inputs import Images, as_images, read_pixels
from frostline.errors import ConfigError, RunError, UnknownNameError, require
from frostline.inference.maps import MappedNetwork
from frostline.models.backbone import Backbone
from frostline.runs.bundle import Model, load_bundle
from frostline.runs.embedding_index import Index, find_index
from frostline.runs.folder import Run

BATCH = 32
METHODS = {"gradcam": "Grad-CAM", "hirescam": "HiResCAM"}


@dataclass(frozen=True)
class Neighbor:
    """A training image that is similar to another image.

    Attributes
    ----------
    class_name : str
        Its label.
    similarity : float
        Cosine of the reduced features, -1 to 1.
    thumbnail : bytes
        PNG or JPEG, at most 64 pixels a side.
    file : str
        Name of its file; empty if it was not a file.
    """

    class_name: str
    similarity: float
    thumbnail: bytes
    file: str

    @property
    def suffix(self) -> str:
        """File name extension of the thumbnail."""
        return ".png" if self.thumbnail.startswith(b"\x89PNG") else ".jpg"


class Explainer:
    """Explains the predictions of a trained model.

    It can be used from several threads; one call is computed at a time. Weights are shared with ``model``.

    Parameters
    ----------
    model : Model
        Its modules are moved to ``device``.
    device : str
        ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.
    index : Index, optional
        Training images for `neighbors`.

    Attributes
    ----------
    class_names : tuple of str
    stages : tuple of str
        Stages with a spatial map, which can be explained.
    grids : dict of str to int
        Positions per side of each stage's map.
    """

    def __init__(self, model: Model, device: str = "cpu", index: Index | None = None) -> None:
        self.model = model
        self.class_names = model.class_names
        self._device = pick_device(device)
        self._index = index
        self._lock = threading.Lock()
        backbone, head = model.backbone.to(self._device), model.head.to(self._device)
        self._network = MappedNetwork(backbone, model.boundary, head, model.preprocess.image_size)
        self.grids = self._network.sides
        self.stages = tuple(self.grids)

    @classmethod
    def load(cls, folder: Path | str, device: str = "cpu", backbone: Backbone | None = None) -> "Explainer":
        """Load the model of a finished run and its index of training images.

        Parameters
        ----------
        folder : path
            The run folder, ``runs/NAME``, or its bundle, ``runs/NAME/model``, which has no index for `neighbors`.
        device : str
            ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda`` or ``mps``.
        backbone : Backbone, optional
            The network, required if it was passed to `frostline.fit`. Only its architecture is used, and it is not
            modified: the weights are those of the bundle.

        Returns
        -------
        Explainer

        Raises
        ------
        RunError
            When the folder contains no model, a file of it or the index is missing, damaged or of another version, or
            ``backbone`` is missing or another network than the run's.
        ConfigError
            When the network's package is not installed, or the device is unknown or not available.
        """
        run = Run(folder)
        return cls(load_bundle(run.folder, backbone), device, find_index(run))

    @property
    def knows_neighbors(self) -> bool:
        """Whether it has an index of training images."""
        return self._index is not None

    def stage(self, name: str | None = None) -> str:
        """Return ``name`` after checking that the stage can be explained; the last such stage by default.

        Raises
        ------
        UnknownNameError
            When there is no such stage.
        ConfigError
            When it has no spatial map.
        """
        network = self.model.backbone.name
        if name is not None and name not in self._network.stages:
            raise UnknownNameError(f"stage of {network} as this model runs it", name, self._network.stages)
        if not self.stages:
            raise ConfigError(f"{network} cannot be explained: it has no spatial map that the prediction depends on.")
        if name is not None and name not in self.stages:
            raise ConfigError(
                f"stage '{name}' of {network} cannot be explained: it has no spatial map that the prediction depends "
                f"on. These can: {', '.join(self.stages)}."
            )
        return name or self.stages[-1]

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Return class probabilities (N, classes), float32; see `frostline.Classifier.predict_proba`."""
        return self._batches(images, (len(self.class_names),), lambda x, _: self._infer(x)[0])

    def signed_maps(
        self, images: Images, classes: Sequence[int] | None = None, stage: str | None = None, method: str = "gradcam"
    ) -> NDArray[np.float32]:
        """Return signed maps at the resolution of the stage.

        Parameters
        ----------
        images : as for `frostline.Classifier.predict_proba`
        classes : sequence of int, optional
            A class number per image; the most probable class by default.
        stage : str, optional
            The last one with a spatial map by default.
        method : str
            ``gradcam`` or ``hirescam``.

        Returns
        -------
        ndarray of float32, shape (N, h, h)
            h is the stage's entry in `grids`. Positive values support the class, negative values oppose it.

        Raises
        ------
        ConfigError
            When captum is not installed, the stage cannot be explained, or the class or method does not exist.
        DataError
            When a file is not a readable image, or an array has another type or shape.
        """
        require("explain", "explain", "captum.attr")
        from captum.attr import LayerGradCam, LayerGradientXActivation

        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        stage, images = self.stage(stage), as_images(images)
        targets = self._targets(images, classes)
        attribution = LayerGradCam if method == "gradcam" else LayerGradientXActivation
        cam = attribution(self._network, self._network.maps[stage])

        def attribute(x: torch.Tensor, start: int) -> torch.Tensor:
            target = self._infer(x)[0].argmax(1) if targets is None else targets[start : start + len(x)].to(x.device)
            with torch.enable_grad():
                attributed: torch.Tensor = cam.attribute(x, target=target)  # (B, 1, h, h) or (B, C, h, h)
            return attributed.detach().sum(1)

        return self._batches(images, (self.grids[stage],) * 2, attribute)

    def explain(
        self, images: Images, classes: Sequence[int] | None = None, stage: str | None = None, method: str = "gradcam"
    ) -> NDArray[np.float32]:
        """Return saliency maps at the resolution of the network's input: where each image supports a class, 0 to 1.

        Parameters
        ----------
        images, classes, stage, method
            As in `signed_maps`.

        Returns
        -------
        ndarray of float32, shape (N, S, S)
            S is the side of the network's input, a square. Negative values of the signed map are set to 0, and each
            map is divided by its maximum before it is enlarged. A map of zeros: no support was found.

        Raises
        ------
        ConfigError, DataError
            As `signed_maps`.
        """
        return enlarge(scale(self.signed_maps(images, classes, stage, method)), self.model.preprocess.image_size)

    def neighbors(self, images: Images, count: int = 5) -> list[list[Neighbor]]:
        """Return the most similar training images of each image, nearest first, from the sample in the run's index.

        Raises
        ------
        RunError
            When there is no index, as in a bundle without its run.
        DataError
            As `signed_maps`.
        """
        if self._index is None:
            raise RunError("this model has no index of training images: load it from a run folder that has one.")
        features = self._batches(images, None, lambda x, _: self._infer(x)[1])
        if not len(features):
            return []
        index, images = self._index, self._index.images
        return [
            [
                Neighbor(self.class_names[index.train_labels[i]], float(cosine), images.encoded[i], images.names[i])
                for i, cosine in zip(members, similarity, strict=True)
            ]
            for members, similarity in zip(*index.nearest(torch.from_numpy(features), count), strict=True)
        ]

    @torch.no_grad()
    def _infer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities (B, classes) and head inputs (B, F)."""
        features = self._network.features(x).flatten(1)
        return self._network.head(features).softmax(1), features

    @torch.inference_mode(False)
    def _batches(
        self, images: Images, shape: tuple[int, ...] | None, compute: Callable[[torch.Tensor, int], torch.Tensor]
    ) -> NDArray[np.float32]:
        """Concatenate the results of ``compute`` for each batch of network inputs and the position of its first image.

        ``shape`` is that of one result, for an empty list of images.
        """
        images = as_images(images)
        parts = [] if shape is None else [np.empty((0, *shape), np.float32)]
        for start in range(0, len(images), BATCH):
            preprocess = self.model.preprocess
            pixels = read_pixels(images[start : start + BATCH], preprocess.target, preprocess.levels)
            x = preprocess(pixels).to(self._device)  # (B, 3, S, S)
            with self._lock:
                parts.append(compute(x, start).cpu().numpy())
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _targets(self, images: Images, classes: Sequence[int] | None) -> torch.Tensor | None:
        if classes is None:
            return None
        targets = torch.as_tensor(np.asarray(classes, np.int64))
        if targets.shape != (len(images),):
            raise ConfigError(f"classes: expected one number for each of {len(images)} images, got {len(classes)}.")
        if len(targets) and not 0 <= targets.min() <= targets.max() < len(self.class_names):
            raise ConfigError(
                f"classes run from {targets.min()} to {targets.max()}: expected 0 to {len(self.class_names) - 1}."
            )
        return targets


def scale(signed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the positive part of maps (N, h, h), each divided by its maximum."""
    positive = np.maximum(signed, 0)
    top = positive.max(axis=(1, 2), keepdims=True, initial=0)
    scaled: NDArray[np.float32] = (positive / np.where(top > 0, top, 1)).astype(np.float32)
    return scaled


def enlarge(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Resize maps (N, h, h) of values 0 to 1 to (N, side, side) with bicubic interpolation."""
    if not len(maps):
        return np.empty((0, side, side), np.float32)
    grown = F.interpolate(torch.from_numpy(maps)[:, None], (side, side), mode="bicubic")[:, 0]
    enlarged: NDArray[np.float32] = grown.clamp_(0, 1).numpy()  # bicubic interpolation overshoots
    return enlarged
