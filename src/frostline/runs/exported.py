"""A model in one ``.onnx`` file, used by onnxruntime alone: neither the run nor torch is needed.

The file takes raw pictures, ``images`` uint8 (N, H, W, C), and gives ``probabilities`` float32 (N, classes) and
``class_ids`` int64 (N,). Its metadata has one entry, ``frostline``: JSON with class names, preprocessing and origin.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline.errors import ConfigError, RunError, first_line
from frostline.evaluation.rejection import Rejection, check_share, named
from frostline.images.given import Images, as_images, batches, read_pixels
from frostline.images.levels import Levels

RECORD = "frostline"  # key of the metadata
BATCH = 32


class OnnxClassifier:
    """An exported model, ready to predict.

    Parameters
    ----------
    source : path or bytes
        A file that ``frostline export`` wrote, or its content.
    threads : int, optional
        How many compute; onnxruntime's own choice when left out.

    Attributes
    ----------
    class_names : tuple of str
    levels : Levels or None
        How files of more than 8 bits, or with transparency, become bytes.
    about : dict
        What the file says of itself: ``image_size``, ``run``, ``data``, ``weights`` and more.

    Raises
    ------
    RunError
        When there is no such file, or it is none of ours.
    ConfigError
        When onnxruntime is not installed.
    """

    def __init__(self, source: Path | str | bytes, threads: int | None = None) -> None:
        name = "the exported model" if isinstance(source, bytes) else str(source)
        self._session = _session(source if isinstance(source, bytes) else _content(Path(source)), name, threads)
        try:
            self.about: dict[str, Any] = json.loads(self._session.get_modelmeta().custom_metadata_map[RECORD])
            self.class_names: tuple[str, ...] = tuple(self.about["class_names"])
            self.image_size: int = self.about["image_size"]
            kept = self.about.get("rejection")
            self.rejection = Rejection.from_dict(kept) if kept else None
            levels = self.about.get("preprocess", {}).get("levels")
            self.levels = None if levels is None else Levels.from_dict(levels)
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(f"{name} is no model that `frostline export` wrote: it does not say its classes.") from error

    def answers(self, images: Images) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return class probabilities (N, classes) and the most probable class's number (N,); see `predict_proba`."""
        images = as_images(images)
        probabilities = np.empty((len(images), len(self.class_names)), np.float32)
        ids = np.empty(len(images), np.int64)
        for start in range(0, len(images), BATCH):
            pixels = read_pixels(images[start : start + BATCH], self.image_size, self.levels)
            for numbers, batch in batches(pixels, BATCH):
                found = self._session.run(["probabilities", "class_ids"], {"images": batch})
                probabilities[start + numbers], ids[start + numbers] = found
        return probabilities, ids

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Return class probabilities (N, classes); pictures of one shape are computed together.

        Parameters
        ----------
        images : path, PIL image, uint8 array, or several of them
            One or many; see `frostline.images.given.as_images`.

        Raises
        ------
        DataError
            When a file is no readable picture, or pixels are of another type or shape.
        """
        return self.answers(images)[0]

    def predict(self, images: Images, reject: float | None = None) -> NDArray[np.str_]:
        """Return the most probable class's name for each image; see `frostline.Classifier.predict`."""
        threshold = None if reject is None else self.threshold(reject)
        return named(self.predict_proba(images), self.class_names, threshold)

    def threshold(self, reject: float) -> float:
        """Return the confidence below which an answer counts as unknown; see `frostline.Classifier.threshold`."""
        check_share(reject)
        if self.rejection is None:
            raise RunError(
                "this exported file does not know below which confidence to reject (an earlier version wrote it): "
                "export its run again."
            )
        return self.rejection.threshold(reject)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error


def _session(content: bytes, name: str, threads: int | None) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ConfigError(
            "an .onnx file needs onnxruntime, which is not installed: pip install 'frostline[export]'."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors: remarks on a graph help no user
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads take no core
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors are classes of its own extension module
        raise RunError(f"{name} is no model that onnxruntime can read ({first_line(error)}).") from error
