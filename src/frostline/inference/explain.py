"""Why a model answers as it does: where in an image it looks (Grad-CAM), and which training images are most alike.

Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391): the mean gradient of a class's logit with respect to each channel of
a map weighs that channel; the weighted sum is a map with a sign. What is positive speaks for the class. HiResCAM
(Draelos and Carin 2020, arXiv:2011.08891) weighs each place by its own gradient instead: a head that knows places
apart, as ours do, is followed more closely. A Frostline head reads pooled taps of several stages besides the last map;
the gradient goes all these ways at once.
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
    """A training image that is like another one.

    Attributes
    ----------
    class_name : str
        What it was labeled as.
    similarity : float
        Cosine of the reduced activations, -1 to 1.
    thumbnail : bytes
        PNG or JPEG, at most 64 pixels a side.
    file : str
        Where it came from; empty when it was no file.
    """

    class_name: str
    similarity: float
    thumbnail: bytes
    file: str

    @property
    def suffix(self) -> str:
        """The thumbnail's kind as a file's ending."""
        return ".png" if self.thumbnail.startswith(b"\x89PNG") else ".jpg"


class Explainer:
    """A trained model that is asked why.

    It may be used from several threads; one call is computed at a time. Weights are shared with ``model``.

    Parameters
    ----------
    model : Model
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    index : Index, optional
        What `neighbors` are looked for in.

    Attributes
    ----------
    class_names : tuple of str
    stages : tuple of str
        Those that can be explained: their maps have more than one place.
    grids : dict of str to int
        How many places a side the map of each of them has.
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
        """Load from a run folder, or from its ``model`` folder, which alone knows no neighbors.

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
            When there is no whole model, or the index is damaged.
        """
        run = Run(folder)
        return cls(load_bundle(run.folder, backbone), device, find_index(run))

    @property
    def knows_neighbors(self) -> bool:
        """Whether there is an index."""
        return self._index is not None

    def stage(self, name: str | None = None) -> str:
        """Return a stage that can be explained: the one named, else the last.

        Raises
        ------
        UnknownNameError
            When there is no such stage.
        ConfigError
            When it has no map.
        """
        network = self.model.backbone.name
        if name is not None and name not in self._network.stages:
            raise UnknownNameError(f"stage of {network} as this model runs it", name, self._network.stages)
        if not self.stages:
            raise ConfigError(f"{network} cannot be explained: the answer depends on no map of more than one place.")
        if name is not None and name not in self.stages:
            raise ConfigError(
                f"stage '{name}' of {network} cannot be explained: its output is no map of the image that the answer "
                f"depends on. These can: {', '.join(self.stages)}."
            )
        return name or self.stages[-1]

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Return class probabilities (N, classes), float32; see `frostline.Classifier.predict_proba`."""
        return self._batches(images, (len(self.class_names),), lambda x, _: self._infer(x)[0])

    def signed_maps(
        self, images: Images, classes: Sequence[int] | None = None, stage: str | None = None, method: str = "gradcam"
    ) -> NDArray[np.float32]:
        """Return maps as they are computed: with their sign, at the stage's own resolution.

        Parameters
        ----------
        images : as `frostline.Classifier.predict_proba` takes them
        classes : sequence of int, optional
            A class number for each image; the most probable when left out.
        stage : str, optional
            Where to look; the last that has a map when left out.
        method : str
            ``gradcam`` or ``hirescam``.

        Returns
        -------
        ndarray of float32, shape (N, h, h)
            With h places a side (`grids`). Above 0: speaks for the class; below: against it.

        Raises
        ------
        ConfigError
            When captum is not installed, the stage cannot be explained, or there is no such class or method.
        DataError
            When a file is no readable image, or pixels are of another type or shape.
        """
        require("explain", "explain", "captum.attr")
        from captum.attr import LayerGradCam, LayerGradientXActivation

        if method not in METHODS:
            raise UnknownNameError("method", method, METHODS)
        stage, images = self.stage(stage), as_images(images)
        wanted = self._wanted(images, classes)
        ask = LayerGradCam if method == "gradcam" else LayerGradientXActivation
        cam = ask(self._network, self._network.maps[stage])

        def look(x: torch.Tensor, start: int) -> torch.Tensor:
            targets = self._infer(x)[0].argmax(1) if wanted is None else wanted[start : start + len(x)].to(x.device)
            with torch.enable_grad():
                attributed: torch.Tensor = cam.attribute(x, target=targets)  # (B, 1, h, h) or (B, C, h, h)
            return attributed.detach().sum(1)

        return self._batches(images, (self.grids[stage],) * 2, look)

    def explain(
        self, images: Images, classes: Sequence[int] | None = None, stage: str | None = None, method: str = "gradcam"
    ) -> NDArray[np.float32]:
        """Return where each image speaks for a class, 0 to 1, enlarged to the network's input.

        Parameters
        ----------
        images, classes, stage, method
            As in `signed_maps`.

        Returns
        -------
        ndarray of float32, shape (N, S, S)
            S is the side of the network's input: the center square of an image. What speaks against the class is 0;
            each map is scaled so that its own strongest place (before it is enlarged) is 1. All 0: nothing was found
            that speaks for it.

        Raises
        ------
        ConfigError, DataError
            As `signed_maps`.
        """
        return enlarge(scale(self.signed_maps(images, classes, stage, method)), self.model.preprocess.image_size)

    def neighbors(self, images: Images, count: int = 5) -> list[list[Neighbor]]:
        """Return the training images most alike to each image, nearest first, of a sample that the run kept.

        Raises
        ------
        RunError
            When there is no index: a ``model`` folder alone has none.
        """
        if self._index is None:
            raise RunError("this model has no index of training images: load it from a run folder that has one.")
        features = self._batches(images, None, lambda x, _: self._infer(x)[1])
        if not len(features):
            return []
        index = self._index
        found = zip(*index.nearest(torch.from_numpy(features), count), strict=True)
        return [
            [
                Neighbor(
                    self.class_names[index.train_labels[member]],
                    float(cosine),
                    index.images.encoded[member],
                    index.images.names[member],
                )
                for member, cosine in zip(members, similarity, strict=True)
            ]
            for members, similarity in found
        ]

    @torch.no_grad()
    def _infer(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return probabilities (B, classes) and what the head reads (B, F)."""
        features = self._network.features(x).flatten(1)
        return self._network.head(features).softmax(1), features

    @torch.inference_mode(False)
    def _batches(
        self, images: Images, shape: tuple[int, ...] | None, work: Callable[[torch.Tensor, int], torch.Tensor]
    ) -> NDArray[np.float32]:
        """Return what ``work`` makes of every batch of network inputs and the position of its first image."""
        images = as_images(images)
        parts = [] if shape is None else [np.empty((0, *shape), np.float32)]
        for start in range(0, len(images), BATCH):
            preprocess = self.model.preprocess
            pixels = read_pixels(images[start : start + BATCH], preprocess.image_size, preprocess.levels)
            x = preprocess(pixels).to(self._device)  # (B, 3, S, S)
            with self._lock:
                parts.append(work(x, start).cpu().numpy())
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def _wanted(self, images: Images, classes: Sequence[int] | None) -> torch.Tensor | None:
        if classes is None:
            return None
        wanted = torch.as_tensor(np.asarray(classes, np.int64))
        if wanted.shape != (len(images),):
            raise ConfigError(f"classes: expected one number for each of {len(images)} images, got {len(classes)}.")
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < len(self.class_names):
            raise ConfigError(
                f"classes run from {wanted.min()} to {wanted.max()}: expected 0 to {len(self.class_names) - 1}."
            )
        return wanted


def scale(signed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what is positive of maps (N, h, h), each divided by its own largest."""
    positive = np.maximum(signed, 0)
    top = positive.max(axis=(1, 2), keepdims=True, initial=0)
    scaled: NDArray[np.float32] = (positive / np.where(top > 0, top, 1)).astype(np.float32)
    return scaled


def enlarge(maps: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Return maps (N, h, h) of values 0 to 1 as smooth ones (N, side, side)."""
    if not len(maps):
        return np.empty((0, side, side), np.float32)
    grown = F.interpolate(torch.from_numpy(maps)[:, None], (side, side), mode="bicubic")[:, 0]
    enlarged: NDArray[np.float32] = grown.clamp_(0, 1).numpy()  # bicubic swings beyond
    return enlarged
