"""The model behind a server: a run, a bundle or an exported file, and what it supports."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frostline._utils.progress import log
from frostline._utils.storage import cache_dir
from frostline.data.decoding.target import Target
from frostline.data.levels import Levels
from frostline.errors import ConfigError, RunError, UnknownNameError
from frostline.inference.onnx import OnnxClassifier
from frostline.serve.limits import THREADS

if TYPE_CHECKING:  # torch loads only for a run or a bundle
    from frostline.inference.classifier import Classifier
    from frostline.inference.explain import Explainer
    from frostline.runs.embedding_index import Index
    from frostline.runs.folder import Run

Pixels = NDArray[np.uint8]

MOST_EXAMPLES = 120  # training images on the page
PER_CLASS = 3


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on a split (``test``, or ``val`` without test images), its 95 % interval and the number of images."""

    value: float
    low: float
    high: float
    images: int
    split: str


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
    accuracy : Accuracy, optional
        Where it is recorded: with a run or an exported file, not with a bundle.
    examples : tuple of (class name, image)
        Training images, PNG or JPEG; none without an index.
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
    accuracy: Accuracy | None = None
    examples: tuple[tuple[str, bytes], ...] = ()
    limit_threads: Callable[[], None] | None = None


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
    path = Path(source)
    if path.suffix.lower() == ".onnx":
        if engine not in ("auto", "onnxruntime"):
            raise ConfigError(f"--engine {engine}: {path.name} runs in onnxruntime alone; leave out --engine.")
        exported = OnnxClassifier(path, THREADS)
        return ServedModel(
            path.stem, "onnx", exported, exported.target, exported.levels,
            rejects=_can_reject(exported), accuracy=_accuracy(exported.about.get("test"), "test"),
        )  # fmt: skip
    return _load_trained(source, output_dir, engine, cache)


def _load_trained(source: str, output_dir: Path, engine: str, cache: Path | str | None) -> ServedModel:
    from frostline.features.compile import ENGINES
    from frostline.inference.classifier import Classifier
    from frostline.inference.explain import Explainer
    from frostline.runs.embedding_index import find_index
    from frostline.runs.folder import Run
    from frostline.serve.engine import limit_torch_threads, select_engine

    if engine not in ("auto", *ENGINES):
        raise UnknownNameError("engine", engine, ("auto", *ENGINES))
    if (Path(source) / "model.json").is_file():
        folder, kind = Path(source), "bundle"
        name = folder.resolve().name
    else:
        run = Run.load(source, output_dir)
        folder, kind, name = run.folder, "run", run.name
    classifier = Classifier.load(folder)
    classifier.engine = select_engine(engine, classifier.network, cache_dir(cache))
    index = find_index(Run(folder))
    explainer = Explainer(classifier.model, index=index)
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
        accuracy=_accuracy_of_run(Run(folder)) if kind == "run" else None,
        examples=() if index is None else _examples(index, classifier.class_names),
        limit_threads=limit_torch_threads,
    )


def _accuracy_of_run(run: "Run") -> Accuracy | None:
    try:
        metrics = run.metrics
    except RunError as error:  # the model itself is complete
        log.warning("the page does not show the accuracy: %s", error)
        return None
    split = "test" if metrics["test"] else "val"
    return _accuracy(metrics[split], split)


def _accuracy(results: dict[str, Any] | None, split: str) -> Accuracy | None:
    if not results:
        return None
    low, high = results["accuracy_ci95"]
    return Accuracy(results["accuracy"], low, high, results["images"], split)


def _examples(index: "Index", class_names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    """Return the first training images of each class: up to 3, and 1 where there are many classes."""
    limit = min(PER_CLASS, max(1, MOST_EXAMPLES // len(class_names)))
    members = [np.flatnonzero(index.train_labels == number)[:limit] for number in range(len(class_names))]
    return tuple(
        (class_names[number], index.images.encoded[member]) for number, some in enumerate(members) for member in some
    )[:MOST_EXAMPLES]


def _can_reject(classifier: "Classifier | OnnxClassifier") -> bool:
    try:
        classifier.threshold(0.0)
    except RunError:  # written by an earlier version
        return False
    return True
