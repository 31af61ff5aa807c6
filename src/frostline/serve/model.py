"""The model behind a server: a run, a bundle or an exported file, and what it supports."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frostline._utils.storage import cache_dir
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import ConfigError, RunError, UnknownNameError
from frostline.features.compile import ENGINES
from frostline.inference.classifier import Classifier
from frostline.inference.explain import Explainer
from frostline.inference.onnx import OnnxClassifier
from frostline.runs.embedding_index import find_index
from frostline.runs.folder import Run
from frostline.serve.engine import THREADS, select_engine

Pixels = NDArray[np.uint8]


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
    """

    name: str
    kind: str
    classifier: Classifier | OnnxClassifier
    target: Target
    levels: Levels | None = None
    explainer: Explainer | None = None
    explains: bool = False
    knows_neighbors: bool = False
    rejects: bool = False


def load_served(source: str, output_dir: Path, engine: str = "auto", cache: Path | str | None = None) -> ServedModel:
    """Load a run by name or folder, the folder of a bundle, or an ``.onnx`` file.

    Parameters
    ----------
    engine : str
        Runs the network; see `frostline.serve.engine.select_engine`. An ``.onnx`` file runs in onnxruntime.
    cache : path, optional
        Frostline's cache folder, which remembers the choice of an engine.

    Raises
    ------
    ConfigError
        When the engine is unknown, not installed, or not one that runs an ``.onnx`` file.
    RunError
        When there is no such run or file, or its model is not complete.
    """
    if engine not in ("auto", *ENGINES):
        raise UnknownNameError("engine", engine, ("auto", *ENGINES))
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        if engine not in ("auto", "onnxruntime"):
            raise ConfigError(f"--engine {engine}: {path.name} runs in onnxruntime alone; leave out --engine.")
        exported = OnnxClassifier(path, THREADS)
        return ServedModel(path.stem, "onnx", exported, exported.target, exported.levels, rejects=_can_reject(exported))
    if (path / "model.json").is_file():
        folder, name, kind = path, path.resolve().name, "bundle"
    else:
        run = Run.load(source, output_dir)
        folder, name, kind = run.folder, run.name, "run"
    classifier = Classifier.load(folder)
    classifier.engine = select_engine(engine, classifier.network, cache_dir(cache))
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
    )


def _can_reject(classifier: Classifier | OnnxClassifier) -> bool:
    try:
        classifier.threshold(0.0)
    except RunError:  # written by an earlier version
        return False
    return True
