"""The model behind a server: a run, a bundle or an exported file, and what it supports."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from frostline._utils.machine import cores
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import RunError
from frostline.inference.onnx import OnnxClassifier

if TYPE_CHECKING:  # torch loads only for a run or a bundle
    from frostline.inference.classifier import Classifier
    from frostline.inference.explain import Explainer

Pixels = NDArray[np.uint8]

# Batches computed at the same time, each with its share of the cores: two small batches side by side use two cores
# better than one batch that uses both, and one more batch is ready when another is done (bench/serve.py).
SHARES = min(4, cores())
BATCHES = SHARES + 1
THREADS = cores() // SHARES


@dataclass(frozen=True)
class ServedModel:
    """A model that is ready to be served.

    Attributes
    ----------
    kind : str
        ``run``, ``bundle`` or ``onnx``.
    target : Target
        The network's input, for decoding; see `frostline.data.decoding.decode.decode_image`.
    levels : Levels, optional
        How files of more than 8 bits, or with transparency, become bytes.
    explains, knows_neighbors, rejects : bool
        Which options a request may use.
    limit_threads : callable, optional
        To be called in each thread that computes, so that it takes its share of the cores.
    """

    name: str
    kind: str
    classifier: "Classifier | OnnxClassifier"
    target: Target
    levels: Levels | None = None
    explainer: "Explainer | None" = None
    explains: bool = False
    knows_neighbors: bool = False
    rejects: bool = False
    limit_threads: Callable[[], None] | None = None


def load_served(source: str, output_dir: Path) -> ServedModel:
    """Load a run by name or folder, the folder of a bundle, or an ``.onnx`` file.

    Raises
    ------
    ConfigError
        When it is an ``.onnx`` file and onnxruntime is not installed.
    RunError
        When there is no such run or file, or its model is not complete.
    """
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        exported = OnnxClassifier(path, THREADS)
        return ServedModel(path.stem, "onnx", exported, exported.target, exported.levels, rejects=_can_reject(exported))
    return _load_trained(source, output_dir)


def _load_trained(source: str, output_dir: Path) -> ServedModel:
    import torch

    from frostline.inference.classifier import Classifier
    from frostline.inference.explain import Explainer
    from frostline.runs.embedding_index import find_index
    from frostline.runs.folder import Run

    if (Path(source) / "model.json").is_file():
        folder, kind = Path(source), "bundle"
        name = folder.resolve().name
    else:
        run = Run.load(source, output_dir)
        folder, kind, name = run.folder, "run", run.name
    classifier = Classifier.load(folder)
    explainer = Explainer(classifier.model, index=find_index(Run(folder)))
    preprocess = classifier.model.preprocess
    return ServedModel(
        name,
        kind,
        classifier,
        preprocess.target,
        preprocess.levels,
        explainer,
        explains=bool(explainer.stages) and find_spec("captum") is not None,
        knows_neighbors=explainer.knows_neighbors,
        rejects=_can_reject(classifier),
        limit_threads=partial(torch.set_num_threads, THREADS),
    )


def _can_reject(classifier: "Classifier | OnnxClassifier") -> bool:
    try:
        classifier.threshold(0.0)
    except RunError:  # written by an earlier version
        return False
    return True
