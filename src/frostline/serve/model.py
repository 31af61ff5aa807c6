"""What stands behind the server: a run, a bundle or an exported file, and what it can do."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from frostline._utils.device import cores
from frostline.data.levels import Levels
from frostline.errors import RunError
from frostline.inference.classifier import Classifier
from frostline.inference.explain import Explainer
from frostline.inference.onnx import OnnxClassifier
from frostline.runs.embedding_index import find_index
from frostline.runs.folder import Run

Pixels = NDArray[np.uint8]

# Batches computed at once, each by its share of the cores: small ones side by side keep two cores busier than one that
# they share, since neither waits for the other; and one more is at hand when one is done (bench/serve.py).
SHARES = min(4, cores())
BATCHES = SHARES + 1
THREADS = cores() // SHARES


def begin_thread() -> None:
    """Prepare a thread that computes batches beside others."""
    torch.set_num_threads(THREADS)


class Predicts(Protocol):
    """Anything that classifies images."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, in the order of the probabilities."""

    def threshold(self, reject: float) -> float:
        """Return the confidence below which an answer counts as unknown; raises RunError where it is not known."""

    def predict_proba(self, images: Sequence[Pixels], /) -> NDArray[np.float32]:
        """Return probabilities (N, classes) of images (H, W) or (H, W, 3)."""


class NeighborLike(Protocol):
    """A training image that looks alike."""

    @property
    def class_name(self) -> str:
        """Its label."""

    @property
    def similarity(self) -> float:
        """1 is the same."""

    @property
    def thumbnail(self) -> bytes:
        """A small PNG or JPEG."""


class Explains(Protocol):
    """Anything that says why."""

    def explain(self, images: Sequence[Pixels], classes: Sequence[int], /) -> NDArray[np.float32]:
        """Return where each image speaks for a class: (N, S, S), 0 to 1, of the square in the center."""

    def neighbors(self, images: Sequence[Pixels], count: int, /) -> Sequence[Sequence[NeighborLike]]:
        """Return the nearest training images of each image."""


@dataclass(frozen=True)
class Served:
    """A model, ready to be served.

    Parameters
    ----------
    name : str
    kind : str
        ``run``, ``bundle`` or ``onnx``.
    predicts : Predicts
    side : int or None
        To which images may be shrunk as they are decoded; see `frostline.data.decoding.decode.decode_image`.
    levels : Levels, optional
        How files of more than 8 bits, or with transparency, become bytes.
    why : Explains, optional
    explains, knows_neighbors, rejects : bool
        What of it can be asked for.
    """

    name: str
    kind: str
    predicts: Predicts
    side: int | None
    levels: Levels | None = None
    why: Explains | None = None
    explains: bool = False
    knows_neighbors: bool = False
    rejects: bool = False


def load_served(source: str, output_dir: Path) -> Served:
    """Load a run by name or folder, a bundle's folder or an ``.onnx`` file.

    Raises
    ------
    ConfigError
        When it is an ``.onnx`` file and onnxruntime is not installed.
    RunError
        When there is no such run or file, or no whole model in it.
    """
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        exported = OnnxClassifier(path, THREADS)
        return Served(path.stem, "onnx", exported, exported.image_size, exported.levels, rejects=_rejects(exported))
    if (path / "model.json").is_file():
        return _from_folder(path, path.resolve().name, "bundle")
    run = Run.load(source, output_dir)
    return _from_folder(run.folder, run.name, "run")


def _from_folder(folder: Path, name: str, kind: str) -> Served:
    classifier = Classifier.load(folder)
    why = Explainer(classifier.model, index=find_index(Run(folder)))
    explains = bool(why.stages) and find_spec("captum") is not None
    seen = classifier.model.preprocess
    return Served(
        name, kind, classifier, seen.image_size, seen.levels, why, explains, why.knows_neighbors, _rejects(classifier)
    )


def _rejects(predicts: Predicts) -> bool:
    try:
        predicts.threshold(0.0)
    except RunError:  # an earlier version wrote it
        return False
    return True
