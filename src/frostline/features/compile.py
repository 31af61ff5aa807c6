"""Engines that run the network: torch, OpenVINO or ONNX Runtime.

An engine is a function from pixels to features or, with the trained layers behind the frozen ones, to class
probabilities. Torch needs no preparation (`frostline.features.forward`); the others compile the same computation, for
batches of one shape or of any size.
"""

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frostline.errors import ConfigError, require
from frostline.features.forward import FastForward

ENGINES = ("torch", "openvino", "onnxruntime")  # of the last two, auto tries the first that is installed
EXTRAS = {"openvino": "fast", "onnxruntime": "export"}
MODULES = {"openvino": ("openvino",), "onnxruntime": ("onnx", "onnxscript", "onnxruntime")}

Engine = Callable[[torch.Tensor], torch.Tensor]  # pixels (B, C, S, S) in 0..255 -> features (B, ...) float32


def check_engine(name: str, device: torch.device) -> None:
    """Refuse an engine that is not installed or does not run on the device.

    Raises
    ------
    ConfigError
    """
    if name in ("auto", "torch"):
        return
    if device.type != "cpu":
        raise ConfigError(f"--engine {name} runs on the CPU: use --device cpu with it, or --engine torch.")
    _switch_off_telemetry()
    require(f"--engine {name}", EXTRAS[name], *MODULES[name])


def _switch_off_telemetry() -> None:
    """Let OpenVINO do without its telemetry, which reports at import and at ``openvino.convert_model``."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def installed_engines() -> list[str]:
    """Return the installed engines other than torch."""
    return [name for name in ENGINES[1:] if all(map(find_spec, MODULES[name]))]


class _Computation(nn.Module):
    """A frozen part with its preprocessing, and the layers that follow it, as a module that can be traced."""

    def __init__(self, forward: FastForward, after: nn.Module) -> None:
        super().__init__()
        self.frozen, self.after, self.run = forward.frozen, after, forward.run

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.after(self.run(pixels))
        return found


@dataclass(frozen=True)
class Batches:
    """The batches that an engine is compiled for.

    Attributes
    ----------
    any_size : bool
        Whether their number of images varies; else all have the shape of the example.
    at_once : int
        How many are computed at the same time, by threads that call the engine.
    threads : int, optional
        Threads that compute one; torch's number if omitted.
    """

    any_size: bool = False
    at_once: int = 1
    threads: int | None = None


ONE_SHAPE = Batches()


def compile_engine(
    name: str,
    forward: FastForward,
    pixels: torch.Tensor,
    after: nn.Module | None = None,
    batches: Batches = ONE_SHAPE,
) -> Engine:
    """Compile a frozen part, and the layers that follow it, in float32.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    pixels : Tensor (B, C, S, S)
        An example of a batch.
    after : Module, optional
        Maps features to the engine's output.
    """
    computation = _Computation(forward, after or nn.Identity()).eval()
    if name == "torch":
        return torch.inference_mode()(computation)
    forward(pixels[:1])  # folds the first convolution: what is folded while tracing would hold no numbers
    compiled = (_openvino if name == "openvino" else _onnxruntime)(computation, pixels, batches)
    return lambda batch: torch.from_numpy(compiled(np.ascontiguousarray(batch.numpy())))


Compiled = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _openvino(computation: nn.Module, pixels: torch.Tensor, batches: Batches) -> Compiled:
    _switch_off_telemetry()
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), quiet():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            computation, pixels[:1].clone(), check_trace=False
        )
        decoder = TorchScriptPythonDecoder(traced)  # the front end calls it until the model is converted
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    model.reshape([-1 if batches.any_size else len(pixels), *pixels.shape[1:]])
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": (batches.threads or torch.get_num_threads()) * batches.at_once,
        "INFERENCE_PRECISION_HINT": "f32",  # by default it takes bfloat16 where the processor has it
        "NUM_STREAMS": batches.at_once,
    }
    compiled, calling = openvino.Core().compile_model(model, "CPU", settings), threading.local()

    def infer(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if not hasattr(calling, "request"):  # a request computes one batch at a time
            calling.request = compiled.create_infer_request()
        return np.array(calling.request.infer(batch, share_inputs=True)[0])

    return infer


def _onnxruntime(computation: nn.Module, pixels: torch.Tensor, batches: Batches) -> Compiled:
    import onnxruntime

    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            computation,
            (pixels.clone(),),
            dynamo=True,
            input_names=["pixels"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},) if batches.any_size else None,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = batches.threads or torch.get_num_threads()
    options.log_severity_level = 3
    if batches.at_once > 1:  # idle threads must not occupy the cores of the others
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda batch: session.run(None, {"pixels": batch})[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress warnings of torch's exporters, which no user can act on."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
