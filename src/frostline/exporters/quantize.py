"""Static int8 quantization of an ONNX file with onnxruntime: smaller, often faster, slightly less accurate.

Activation ranges are calibrated on validation images; weights have one scale per channel. Weights use 7 of the 8 bits:
processors without VNNI instructions add two products in 16 bits, which would overflow with more and make the same file
less accurate there. The preprocessing is not quantized.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from frostline._utils.progress import Progress, Silent
from frostline.data.dataset import ImageDataset
from frostline.data.inputs import batches
from frostline.errors import ExportError
from frostline.exporters.exportable_model import INPUT, quiet
from frostline.exporters.onnx import add_metadata
from frostline.exporters.parity import Answers, ImagePixels, Predictor, raw_batches

CALIBRATION_IMAGES = 256
KINDS = ["Conv", "Gemm", "MatMul"]
MOST_LOSS = 0.005  # of accuracy


def to_int8(content: bytes, about: dict[str, Any], val: ImageDataset, progress: Progress | None) -> bytes:
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


def accuracy(predict: Predictor, part: ImageDataset, label: str, progress: Progress | None) -> float:
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
    """Check that int8 loses at most half a point of accuracy.

    Raises
    ------
    ExportError
    """
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
