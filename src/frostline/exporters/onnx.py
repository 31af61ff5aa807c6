"""Export to ONNX."""

import json
from typing import Any

import torch
from torch.export import ExportedProgram

from frostline.errors import ExportError, first_line
from frostline.exporters.exportable_model import INPUT, OUTPUTS, quiet
from frostline.inference.onnx import RECORD
from frostline.runs.seal import UNSEALED, sealed

OPSET = 20
MOST_BYTES = 2_000_000_000  # protocol buffers are limited to 2 GiB
SHAPE = ("batch", "height", "width", "channels")


def to_onnx(program: ExportedProgram, about: dict[str, Any], name: str) -> bytes:
    """Return the content of an ``.onnx`` file.

    Parameters
    ----------
    program : ExportedProgram
        Of the complete model.
    about : dict
        Metadata; JSON values.
    name : str
        Of the network, for messages.

    Raises
    ------
    ExportError
        When ONNX does not support the network, or the file would be too large.
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
