"""The formats of exported models: ONNX, ONNX in 8 bits, and programs of torch.export."""

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram

from frostline._utils.files import MAX_TENSOR_FILE_BYTES, read_bytes, reading
from frostline._utils.progress import Progress, Silent
from frostline.data.inputs import batches
from frostline.errors import ExportError, RunError, first_line
from frostline.exporters.exportable_model import INPUT, OUTPUTS
from frostline.exporters.parity import Answers, ImagePixels, LabeledImages, Predictor, raw_batches
from frostline.features.compile import quiet
from frostline.inference.onnx import AGAIN, RECORD, UNSEALED, read_record, refuse_damaged, sealed

OPSET = 20
MOST_BYTES = 2_000_000_000  # protocol buffers are limited to 2 GiB
SHAPE = ("batch", "height", "width", "channels")


def to_onnx(program: ExportedProgram, about: dict[str, Any], name: str) -> bytes:
    """Return the content of an ``.onnx`` file with metadata ``about``; ``name`` is that of the network.

    Raises ExportError when ONNX does not support the network, or the file would be too large.
    """
    with quiet():
        try:
            translated = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=list(OUTPUTS), opset_version=OPSET,
                external_data=False, optimize=True, verbose=False,
            )  # fmt: skip
            model = translated.model_proto if translated else None
        except Exception as error:  # the exporter can raise anything
            raise ExportError(
                f"{name} cannot be exported to ONNX ({first_line(error)}): try --format torch, "
                "or use `frostline predict` with the run."
            ) from error
    if model is None:
        raise ExportError(f"{name} cannot be exported to ONNX: the exporter returned nothing; try --format torch.")
    _name_shape(model)
    content = add_metadata(model, about)
    if len(content) > MOST_BYTES:
        raise ExportError(
            f"{name} would be a file of {len(content):,} bytes, above ONNX's limit of 2 GiB: use --format torch."
        )
    return content


def add_metadata(model: Any, about: dict[str, Any]) -> bytes:
    """Return a model with our metadata instead of the exporter's, as bytes with a checksum."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    model.metadata_props.add(key=RECORD, value=json.dumps({**about, "seal": UNSEALED}, ensure_ascii=False))
    model.producer_name, model.producer_version = "frostline", about["frostline"]
    content: bytes = model.SerializeToString(deterministic=True)
    return sealed(content)


def _name_shape(model: Any) -> None:
    for size, word in zip(model.graph.input[0].type.tensor_type.shape.dim, SHAPE, strict=True):
        size.dim_param = word
    for output in model.graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = SHAPE[0]


CALIBRATION_IMAGES = 256
KINDS = ["Conv", "Gemm", "MatMul"]
MOST_LOSS = 0.005  # of accuracy


def to_int8(content: bytes, about: dict[str, Any], val: LabeledImages, progress: Progress | None) -> bytes:
    """Return an ``.onnx`` file's content quantized to int8, calibrated on the first validation images."""
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    count = min(CALIBRATION_IMAGES, len(val))
    with TemporaryDirectory() as folder, quiet(), _root_quiet():
        plain, small = Path(folder, "plain.onnx"), Path(folder, "int8.onnx")
        plain.write_bytes(content)
        with (progress or Silent()).bar("calibrating", count, "images") as bar:
            quantize_static(
                plain,
                small,
                _CalibrationReader(raw_batches(val, count), bar.advance),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=KINDS,
                nodes_to_exclude=_without_weights(onnx.load_from_string(content)),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return add_metadata(onnx.load(small), about | {"quantized": "int8"})


class _CalibrationReader:
    """Feeds images to onnxruntime's calibration, batched by shape."""

    def __init__(self, images: Iterator[list[ImagePixels]], advance: Any) -> None:
        self._feeds = (
            (advance(len(pixels)), {INPUT: pixels})[1] for some in images for _, pixels in batches(some, len(some))
        )

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the next batch, or None at the end."""
        return next(self._feeds, None)


def _without_weights(model: Any) -> list[str]:
    """Return the nodes of a quantized type whose second input is no weight, such as those of the resize."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node.name for node in model.graph.node if node.op_type in KINDS and node.input[1] not in weights]


def accuracy(predict: Predictor, part: LabeledImages, label: str, progress: Progress | None) -> float:
    """Return the accuracy on a split."""
    correct = start = 0
    with (progress or Silent()).bar(label, len(part), "images") as bar:
        for batch in raw_batches(part, len(part)):
            answers: Answers = predict(batch)
            correct += int((answers[1] == part.labels[start : start + len(batch)]).sum())
            start += len(batch)
            bar.advance(len(batch))
    return correct / len(part)


def check_accuracy(before: float, after: float, *, allow_loss: bool) -> None:
    """Check that int8 loses at most half a point of accuracy."""
    loss = before - after
    if not allow_loss and loss > MOST_LOSS + 1e-9:
        raise ExportError(
            f"in int8 the validation accuracy falls from {before:.4f} to {after:.4f}, by {100 * loss:.2f} points, more "
            f"than {100 * MOST_LOSS}: accept it with --allow-loss; nothing was written."
        )


@contextmanager
def _root_quiet() -> Iterator[None]:
    """Silence the root logger, where the quantizer warns of steps that are skipped on purpose."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


PROGRAM_RECORD = "frostline.json"  # name of the file inside the archive


def to_pt2(program: ExportedProgram, about: dict[str, Any]) -> bytes:
    """Return the content of a ``.pt2`` file, with the metadata as ``frostline.json``."""
    content = io.BytesIO()
    with quiet():
        torch.export.save(program, content, extra_files={PROGRAM_RECORD: json.dumps(about, ensure_ascii=False)})
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = UNSEALED.encode()
    return sealed(content.getvalue())


class ProgramClassifier:
    """A model that ``frostline export --format torch`` wrote, as a file or its content, for prediction.

    Raises RunError when it is not an exported model, or damaged.
    """

    def __init__(self, source: Path | bytes) -> None:
        name = "the exported model" if isinstance(source, bytes) else str(source)
        files = {PROGRAM_RECORD: ""}
        with reading(Path(name), RunError, AGAIN), quiet():
            content = source if isinstance(source, bytes) else read_bytes(source, MAX_TENSOR_FILE_BYTES)
            refuse_damaged(content, name)
            self._module = torch.export.load(io.BytesIO(content), extra_files=files).module()
        self.about: dict[str, Any] = read_record(files[PROGRAM_RECORD], content, name)
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
