"""Export to a ``.pt2`` file: a `torch.export` program that torch runs without Frostline."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, read_bytes, reading
from frostline.data.inputs import batches
from frostline.errors import RunError
from frostline.exporters.exportable_model import quiet
from frostline.exporters.parity import Answers, ImagePixels
from frostline.inference.onnx import AGAIN, read_record, refuse_damaged
from frostline.runs.seal import UNSEALED, sealed

RECORD = "frostline.json"  # name of the file inside the archive


def to_pt2(program: ExportedProgram, about: dict[str, Any]) -> bytes:
    """Return the content of a ``.pt2`` file, with the metadata as ``frostline.json``."""
    content = io.BytesIO()
    with quiet():
        torch.export.save(program, content, extra_files={RECORD: json.dumps(about, ensure_ascii=False)})
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = UNSEALED.encode()
    return sealed(content.getvalue())


class ProgramClassifier:
    """An exported ``.pt2`` model for prediction.

    Parameters
    ----------
    source : path or bytes
        A file that ``frostline export --format torch`` wrote, or its content.

    Attributes
    ----------
    about : dict
        Metadata of the file.
    class_names : tuple of str

    Raises
    ------
    RunError
        When it is no exported model, or damaged.
    """

    def __init__(self, source: Path | bytes) -> None:
        name = "the exported model" if isinstance(source, bytes) else str(source)
        files = {RECORD: ""}
        with reading(Path(name), RunError, AGAIN), quiet():
            content = source if isinstance(source, bytes) else read_bytes(source, MAX_TENSOR_FILE_BYTES)
            refuse_damaged(content, name)
            self._module = torch.export.load(io.BytesIO(content), extra_files=files).module()
        self.about: dict[str, Any] = read_record(files[RECORD], content, name)
        self.class_names = tuple(self.about["class_names"])

    @torch.inference_mode()
    def answers(self, images: list[ImagePixels]) -> Answers:
        """Return probabilities (N, classes) and class ids (N,)."""
        probabilities = np.empty((len(images), len(self.class_names)), np.float32)
        ids = np.empty(len(images), np.int64)
        for numbers, batch in batches(images, len(images)):
            found = self._module(torch.from_numpy(batch))
            probabilities[numbers], ids[numbers] = (part.numpy() for part in found)
        return probabilities, ids
