"""Engines that run the frozen stages: torch, OpenVINO or ONNX Runtime, and the choice of the fastest one.

An engine is a function from pixels to features. Torch needs no preparation (`frostline.features.forward`); the others
compile the same computation for batches of one shape. With ``auto`` the first batch of a long pass is timed in another
engine, if one is installed; where it is much faster and agrees with torch it computes the rest, and the cache folder
remembers the choice. Networks like AlexNet, whose layers `FastForward` rewrites, stay in torch, which runs them about
as fast (bench/engines.py).
"""

import logging
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from torch import nn

from frostline._utils.device import describe_device
from frostline._utils.files import read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline._utils.storage import write_json
from frostline.errors import ConfigError, StorageError, first_line, require
from frostline.features.forward import FastForward

ENGINES = ("torch", "openvino", "onnxruntime")  # of the last two, auto tries the first that is installed
EXTRAS = {"openvino": "fast", "onnxruntime": "export"}
MODULES = {"openvino": ("openvino",), "onnxruntime": ("onnx", "onnxscript", "onnxruntime")}
TOLERANCE = 1e-4  # of the largest feature of a batch: float32 rounding
WORTH_SECONDS = {"openvino": 15.0, "onnxruntime": 60.0}  # of a pass in torch; compiling takes 1 to 5 and 10 to 20 s
MIN_SPEEDUP = 1.5  # over torch: a batch alone is timed within a quarter
MAX_RECORD_BYTES = 1 << 16

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
    require(f"--engine {name}", EXTRAS[name], *MODULES[name])


class SelectedEngine:
    """The frozen stages in the engine that was asked for or, with ``auto``, in the fastest.

    Parameters
    ----------
    forward : FastForward
        The frozen stages in torch.
    name : str
        ``auto`` or one of `ENGINES`.
    images : int
        How many images are to be computed; a short pass stays in torch.
    identity : str
        What the frozen stages compute, e.g. the digest of the cache's store.
    cache : Path
        Frostline's cache folder, which remembers measurements.
    """

    def __init__(self, forward: FastForward, name: str, images: int, identity: str, cache: Path) -> None:
        self.forward, self._name, self._images = forward, name, images
        self._identity, self._folder = identity, cache / "engines"
        self._engines: dict[torch.Size, Engine] = {}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return features (B, ...) float32 of pixels (B, C, S, S) in 0..255."""
        engine = self._engines.get(pixels.shape)
        if engine is not None:
            return engine(pixels)
        self._engines[pixels.shape], features = self._select(pixels)
        return features

    def _select(self, pixels: torch.Tensor) -> tuple[Engine, torch.Tensor]:
        """Return the engine for batches like this one, and the features of this one."""
        begun = time.perf_counter()
        features = self.forward(pixels)
        rate = len(pixels) / (time.perf_counter() - begun)
        if self._name == "torch" or self.forward.device.type != "cpu":
            return self.forward, features
        if self._name != "auto":
            engine = compile_engine(self._name, self.forward, pixels)
            found = engine(pixels)
            difference = _difference(found, features)
            if difference > TOLERANCE:
                raise ConfigError(
                    f"--engine {self._name} computes other features than torch (they differ by {difference:.1e} of the "
                    "largest): use --engine torch."
                )
            return engine, found
        other = next(iter(_installed()), None)
        if other is None or self.forward.is_folded or self._images / rate < WORTH_SECONDS[other]:
            return self.forward, features
        file = self.record_file(pixels)
        record = read_record(file)
        if record is None:
            return self._measure(other, pixels, features, file), features
        return self._compile_remembered(record, pixels, features), features

    def record_file(self, pixels: torch.Tensor) -> Path:
        """Return the file that remembers the choice for batches like this one, on this processor, in these versions."""
        versions = {name: version(name) for name in ("torch", *_installed())}
        key = [self._identity, list(pixels.shape), describe_device(self.forward.device), versions]
        return self._folder / f"{digest_json(key)}.json"

    def _compile_remembered(self, record: "EngineRecord", pixels: torch.Tensor, expected: torch.Tensor) -> Engine:
        if record.engine == "torch":
            return self.forward
        engine = self._agreeing(record.engine, pixels, expected)
        if engine is None:
            return self.forward
        log.debug("engine: %s", record.summary)
        return engine

    def _measure(self, name: str, pixels: torch.Tensor, expected: torch.Tensor, file: Path) -> Engine:
        engine = self._agreeing(name, pixels, expected)
        if engine is None:
            return self.forward
        engines: dict[str, Engine] = {"torch": self.forward, name: engine}
        rates = {key: len(pixels) / _fastest_seconds(value, pixels) for key, value in engines.items()}
        chosen = name if rates[name] >= MIN_SPEEDUP * rates["torch"] else "torch"
        record = EngineRecord(engine=chosen, images_per_second=rates)
        try:
            write_json(file, record.model_dump())
        except StorageError as error:  # a cache that cannot be written: measured again next time
            log.debug("the choice of an engine is not remembered: %s", error)
        log.debug("engine: %s", record.summary)
        return engines[chosen]

    def _agreeing(self, name: str, pixels: torch.Tensor, expected: torch.Tensor) -> Engine | None:
        """Return a compiled engine, or ``None``, logged, if it fails or computes other features."""
        try:
            engine = compile_engine(name, self.forward, pixels)
            difference = _difference(engine(pixels), expected)
        except Exception as error:  # engines raise whatever they like; torch computes the same
            log.debug("engine: %s cannot run this network (%s)", name, first_line(error))
            return None
        if difference > TOLERANCE:
            log.debug("engine: %s differs from torch by %.1e of the largest feature: not used", name, difference)
            return None
        return engine


class EngineRecord(BaseModel):
    """The engine that was chosen, and what was measured."""

    engine: str
    images_per_second: dict[str, float]

    @property
    def summary(self) -> str:
        """E.g. ``openvino, 348 images/s (torch 66)``."""
        others = ", ".join(f"{name} {rate:.0f}" for name, rate in self.images_per_second.items() if name != self.engine)
        return f"{self.engine}, {self.images_per_second[self.engine]:.0f} images/s ({others})"


def _installed() -> list[str]:
    """Return the installed engines other than torch."""
    return [name for name in ENGINES[1:] if all(map(find_spec, MODULES[name]))]


def read_record(path: Path) -> EngineRecord | None:
    """Return a remembered choice; a damaged one is measured again."""
    try:
        record = EngineRecord.model_validate_json(read_bytes(path, MAX_RECORD_BYTES))
    except (OSError, ValidationError):
        return None
    known = record.engine in ENGINES and {"torch", record.engine} <= set(record.images_per_second)
    return record if known and all(rate > 0 for rate in record.images_per_second.values()) else None


def _fastest_seconds(engine: Engine, pixels: torch.Tensor) -> float:
    """Return the shorter time of two runs over a batch that has been run before."""
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        engine(pixels)
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, as a share of the largest expected feature; infinite for another shape or NaN."""
    if found.shape != expected.shape:
        return math.inf
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))
    return math.inf if math.isnan(difference) else difference


class _Computation(nn.Module):
    """A frozen part with its preprocessing, as a module that can be traced."""

    def __init__(self, forward: FastForward) -> None:
        super().__init__()
        self.frozen, self.run = forward.frozen, forward.run

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.run(pixels)


def compile_engine(name: str, forward: FastForward, pixels: torch.Tensor) -> Engine:
    """Compile a frozen part for batches of the shape of ``pixels`` (B, C, S, S), in float32.

    Parameters
    ----------
    name : str
        One of `ENGINES`.
    """
    if name == "torch":
        return forward
    forward(pixels[:1])  # folds the first convolution: what is folded while tracing would hold no numbers
    compiled = _openvino(forward, pixels) if name == "openvino" else _onnxruntime(forward, pixels)
    return lambda batch: torch.from_numpy(compiled(np.ascontiguousarray(batch.numpy())))


Compiled = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _openvino(forward: FastForward, pixels: torch.Tensor) -> Compiled:
    """Compile with OpenVINO, without its telemetry, which reports at import and at ``openvino.convert_model``."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # OpenVINO does without it, then
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with torch.no_grad(), quiet():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            _Computation(forward).eval(), pixels[:1].clone(), check_trace=False
        )
        decoder = TorchScriptPythonDecoder(traced)  # the front end calls it until the model is converted
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
    model.reshape(list(pixels.shape))
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "f32",  # by default it takes bfloat16 where the processor has it
        "NUM_STREAMS": 1,
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda batch: np.array(request.infer(batch, share_inputs=True)[0])


def _onnxruntime(forward: FastForward, pixels: torch.Tensor) -> Compiled:
    import onnxruntime

    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            _Computation(forward).eval(), (pixels.clone(),), dynamo=True, input_names=["pixels"], verbose=False
        )
    if program is None:
        raise RuntimeError("the ONNX exporter returned nothing")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
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
