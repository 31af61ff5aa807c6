"""Prediction with an exported ``.onnx`` file in onnxruntime, without the run and without torch.

The input ``images`` are raw images, uint8 (N, H, W, C); the outputs are ``probabilities``, float32 (N, classes), and
``class_ids``, int64 (N,). The metadata entry ``frostline`` is JSON with class names, preprocessing and origin, and a
checksum of the file.
"""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, model_validator

from frostline._utils.files import fit_schema, read_bytes, reading
from frostline._utils.progress import log
from frostline.data.decoding.target import CROPS, Target, fit_of
from frostline.data.inputs import Images, as_images, batches, read_pixels
from frostline.data.levels import Levels
from frostline.errors import RunError, first_line, require
from frostline.evaluation.rejection import Rejection, check_share, named
from frostline.runs.schemas import LevelsRecord, RejectionRecord, Schema

MARK = b"frostline-sha256:"
DIGITS = 64
UNSEALED = (MARK + b"0" * DIGITS).decode()  # placeholder until the file is complete


def sealed(data: bytes) -> bytes:
    """Return a file's content with its checksum in place of `UNSEALED`."""
    at = data.rindex(MARK) + len(MARK)
    return data[:at] + _digest(data, at).encode() + data[at + DIGITS :]


def check_seal(data: bytes) -> Literal["intact", "damaged", "none"]:
    """Compare a file's content with its checksum; ``none`` if it has no checksum."""
    at = data.rfind(MARK) + len(MARK)
    if at < len(MARK):
        return "none"
    return "intact" if _digest(data, at).encode() == data[at : at + DIGITS] else "damaged"


def _digest(data: bytes, at: int) -> str:
    view, digest = memoryview(data), hashlib.sha256()
    for part in (view[:at], b"0" * DIGITS, view[at + DIGITS :]):
        digest.update(part)
    return digest.hexdigest()


RECORD = "frostline"  # key of the metadata
FORMAT_VERSION = 2  # 1 had no checksum
MAX_FILE_BYTES = 1 << 31  # the limit of protocol buffers
AGAIN = "export the run again, or copy the file again"
BATCH = 32


class _Preprocess(Schema):
    model_config = ConfigDict(extra="allow")

    image_size: Annotated[int, Field(ge=1)]
    crop: str = CROPS["crop"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    levels: LevelsRecord | None = None

    @model_validator(mode="after")
    def _valid(self) -> Self:
        fit_of(self.crop)
        if not all(0 <= value <= 1 for value in self.mean) or not all(0 < value <= 10 for value in self.std):
            raise ValueError(f"mean {self.mean} and std {self.std} are impossible for pixels in 0 to 1")
        return self


class ExportRecord(Schema):
    """Metadata of an exported file; other entries are for information."""

    model_config = ConfigDict(extra="allow")

    format: Literal[1, 2]
    class_names: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    image_size: Annotated[int, Field(ge=1)]
    preprocess: _Preprocess
    rejection: RejectionRecord | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError("class_names are not unique")
        if self.image_size != self.preprocess.image_size:
            raise ValueError(f"image_size is {self.image_size}, in preprocess {self.preprocess.image_size}")
        return self


def read_record(text: str, content: bytes, name: str) -> dict[str, Any]:
    """Parse the metadata ``text`` of an exported file with some content and name.

    Raises RunError when it is invalid, or the file has no checksum.
    """
    record = fit_schema(ExportRecord, text, Path(name), RunError, AGAIN)
    if check_seal(content) == "none":
        if record.format > 1:
            raise RunError(f"{name} is damaged (its checksum is missing): {AGAIN}.")
        # Accepted, so that models in use survive an update of Frostline.
        log.warning("%s is of an earlier version and has no checksum: damage cannot be detected; %s", name, AGAIN)
    return record.model_dump(mode="json", exclude_unset=True)


def refuse_damaged(content: bytes, name: str) -> None:
    """Refuse the content of an exported file if its checksum is wrong, before it is parsed."""
    if check_seal(content) == "damaged":
        raise RunError(f"{name} is damaged (its checksum is wrong): {AGAIN}.")


class OnnxClassifier:
    """An exported model for prediction.

    Parameters
    ----------
    source : path or bytes
        A file that ``frostline export`` wrote, or its content.
    threads : int, optional
        Number of threads; onnxruntime's default if omitted.

    Attributes
    ----------
    class_names : tuple of str
    levels : Levels or None
        Conversion to bytes of images with more than 8 bits or transparency.
    about : dict
        Metadata of the file: ``image_size``, ``run``, ``data``, ``weights`` and more.

    Raises
    ------
    RunError
        When the file is missing, damaged, or not written by ``frostline export``.
    ConfigError
        When onnxruntime is not installed.
    """

    def __init__(self, source: Path | str | bytes, threads: int | None = None) -> None:
        name = "the exported model" if isinstance(source, bytes) else str(source)
        content = source if isinstance(source, bytes) else _content(Path(source))
        refuse_damaged(content, name)
        self._session = _session(content, name, threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(RECORD)
        if text is None:
            raise RunError(f"{name} was not written by `frostline export`: it has no metadata with class names.")
        self.about: dict[str, Any] = read_record(text, content, name)
        self.class_names: tuple[str, ...] = tuple(self.about["class_names"])
        self.image_size: int = self.about["image_size"]
        self.target = Target(self.image_size, fit_of(self.about["preprocess"].get("crop", CROPS["crop"])))
        _check_signature(self._session, len(self.class_names), name)
        rejection, levels = self.about.get("rejection"), self.about["preprocess"].get("levels")
        self.rejection = None if rejection is None else Rejection.from_dict(rejection)
        self.levels = None if levels is None else Levels.from_dict(levels)

    def answers(self, images: Images) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return class probabilities (N, classes) and the most probable class ids (N,); see `predict_proba`."""
        images = as_images(images)
        probabilities = np.empty((len(images), len(self.class_names)), np.float32)
        ids = np.empty(len(images), np.int64)
        for start in range(0, len(images), BATCH):
            pixels = read_pixels(images[start : start + BATCH], self.target, self.levels)
            for numbers, batch in batches(pixels, BATCH):
                found = self._session.run(["probabilities", "class_ids"], {"images": batch})
                probabilities[start + numbers], ids[start + numbers] = found
        return probabilities, ids

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Return class probabilities, float32 (N, classes); images of one shape are computed together.

        Parameters
        ----------
        images : path, PIL image, uint8 array, or several of them
            One or many; see `frostline.data.inputs.as_images`.

        Raises
        ------
        DataError
            When a file is not a readable image, or an array has another type or shape.
        """
        return self.answers(images)[0]

    def predict(self, images: Images, reject: float | None = None) -> NDArray[np.str_]:
        """Return the name of the most probable class of each image; see `frostline.Classifier.predict`."""
        threshold = None if reject is None else self.threshold(reject)
        return named(self.predict_proba(images), self.class_names, threshold)

    def threshold(self, reject: float) -> float:
        """Return the confidence below which a prediction counts as unknown; see `frostline.Classifier.threshold`."""
        check_share(reject)
        if self.rejection is None:
            raise RunError(
                "this exported file has no confidence thresholds for rejection (an earlier version wrote it): "
                "export its run again."
            )
        return self.rejection.threshold(reject)


def _content(path: Path) -> bytes:
    with reading(path, RunError, "expected a file that `frostline export` wrote"):
        return read_bytes(path, MAX_FILE_BYTES)


def _check_signature(session: Any, classes: int, name: str) -> None:
    """Refuse a graph with other inputs and outputs than an exported model."""
    found = [(node.name, node.type, len(node.shape)) for node in (*session.get_inputs(), *session.get_outputs())]
    expected = [
        ("images", "tensor(uint8)", 4),
        ("probabilities", "tensor(float)", 2),
        ("class_ids", "tensor(int64)", 1),
    ]
    if found != expected:
        raise RunError(f"{name} was not written by `frostline export`: its inputs and outputs differ.")
    width = session.get_outputs()[0].shape[1]
    if isinstance(width, int) and width != classes:
        raise RunError(f"{name} has {classes} class names, and its network {width} classes: {AGAIN}.")


def _session(content: bytes, name: str, threads: int | None) -> Any:
    require("an .onnx file", "export", "onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; its warnings about graphs help no user
    options.intra_op_num_threads = threads or 0
    options.enable_cpu_mem_arena = (
        False  # it never shrinks: one batch of 32 kept 140 MB; as fast without (bench/runtime.py)
    )
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads do not occupy cores
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base class
        raise RunError(f"{name} is not a model that onnxruntime can read ({first_line(error)}).") from error
