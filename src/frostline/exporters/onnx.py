"""The model as one ``.onnx`` file."""

import json
from typing import Any

import torch
from torch.export import ExportedProgram

from frostline.errors import ConfigError, ExportError, first_line
from frostline.exporters.exportable_model import INPUT, OUTPUTS, quiet
from frostline.inference.onnx import RECORD
from frostline.runs.seal import UNSEALED, sealed

OPSET = 20
MOST_BYTES = 2_000_000_000  # a protocol buffer ends at 2 GiB
SHAPE = ("batch", "height", "width", "channels")


def check_onnx() -> None:
    """Refuse to export without the packages that it takes.

    Raises
    ------
    ConfigError
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"export needs {error.name or 'onnx'}, which is not installed: pip install 'frostline[export]'."
        ) from error


def to_onnx(program: ExportedProgram, about: dict[str, Any], name: str) -> bytes:
    """Return the content of an ``.onnx`` file.

    Parameters
    ----------
    program : ExportedProgram
        Of the whole model.
    about : dict
        What the file says of itself; JSON values.
    name : str
        What messages call the network.

    Raises
    ------
    ExportError
        When ONNX cannot say what the network does, or the file would be too large.
    """
    with quiet():
        try:
            translated = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=list(OUTPUTS), opset_version=OPSET,
                external_data=False, optimize=True, verbose=False,
            )  # fmt: skip
            model = translated.model_proto if translated else None
        except Exception as error:  # whatever a network leads the exporter to
            raise ExportError(
                f"{name} cannot be said in ONNX ({first_line(error)}): --format torch may do, "
                "or `frostline predict` goes on serving this run."
            ) from error
    if model is None:
        raise ExportError(f"{name} cannot be said in ONNX: the exporter gave nothing.")
    _name_shape(model)
    content = described(model, about)
    if len(content) > MOST_BYTES:
        raise ExportError(
            f"{name} would be a file of {len(content):,} bytes, and ONNX files end at 2 GiB: "
            "--format torch has no limit."
        )
    return content


def described(model: Any, about: dict[str, Any]) -> bytes:
    """Return a model with what it says of itself in its metadata, as bytes with a checksum.

    Traces of how it was made are taken off.
    """
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
