"""The choice of the fastest engine: torch or, where it is much faster and computes the same, another one.

With ``auto`` the first batch of a long pass is timed in another engine, if one is installed; where it is much faster
and agrees with torch it computes the rest, and the cache folder remembers the choice. Networks like AlexNet, whose
layers `FastForward` rewrites, stay in torch, which runs them about as fast (bench/engines.py). A server chooses in the
same way, on small batches (`frostline.serve.engine`).
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel, ValidationError

from frostline._utils.device import describe_device
from frostline._utils.files import read_bytes
from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline._utils.storage import write_json
from frostline.errors import ConfigError, StorageError, first_line
from frostline.features.compile import ENGINES, Engine, compile_engine, installed_engines
from frostline.features.forward import FastForward

TOLERANCE = 1e-4  # of the largest feature (or probability) of a batch: float32 rounding
WORTH_SECONDS = {"openvino": 15.0, "onnxruntime": 60.0}  # of a pass in torch; compiling takes 1 to 5 and 10 to 20 s
MIN_SPEEDUP = 1.5  # over torch: a batch alone is timed within a quarter
TIMING_SECONDS = 0.2  # for which a short batch is repeated
MAX_RECORD_BYTES = 1 << 16

Compiler = Callable[[str], Engine]  # compiles some computation for the engine of a name


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
        self._identity, self._cache = identity, cache
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
        other = next(iter(installed_engines()), None)
        if other is None or self.forward.is_folded or self._images / rate < WORTH_SECONDS[other]:
            return self.forward, features
        compiler = partial(compile_engine, forward=self.forward, pixels=pixels)
        return faster_engine(self.forward, other, compiler, [pixels], features, self.record_file(pixels)), features

    def record_file(self, pixels: torch.Tensor) -> Path:
        """Return the file that remembers the choice for batches like this one; see `record_file`."""
        return record_file(self._cache, self._identity, pixels, self.forward.device)


def record_file(cache: Path, identity: str, pixels: torch.Tensor, device: torch.device) -> Path:
    """Return the file in the cache folder that remembers the choice for a computation.

    It is valid for batches of the shape of ``pixels`` on this processor, in these versions.
    """
    versions = {name: version(name) for name in ("torch", *installed_engines())}
    key = [identity, list(pixels.shape), describe_device(device), versions]
    return cache / "engines" / f"{digest_json(key)}.json"


def faster_engine(
    plain: Engine,
    other: str,
    compiler: Compiler,
    batches: Sequence[torch.Tensor],
    expected: torch.Tensor,
    file: Path,
) -> Engine:
    """Return a computation in torch or, where that is much faster, in another engine.

    The choice is read from a file; if there is none, the batches are timed and the choice is written there.

    Parameters
    ----------
    plain : Engine
        The computation in torch.
    other : str
        The engine to compare with torch.
    compiler : callable
        Compiles the computation.
    batches : sequence of Tensor (B, C, S, S)
        Pixels. The other engine must be at least `MIN_SPEEDUP` times as fast on each.
    expected : Tensor (B, ...)
        What torch computes for the last batch.
    file : Path
        See `record_file`.
    """
    record = read_record(file)
    name = record.engine if record else other
    engine = plain if name == "torch" else agreeing_engine(name, compiler, batches[-1], expected)
    if engine is None or name == "torch":
        return plain
    if record is None:
        record = _measure(plain, name, engine, batches)
        try:
            write_json(file, record.model_dump())
        except StorageError as error:  # a cache that cannot be written: measured again next time
            log.debug("the choice of an engine is not remembered: %s", error)
    log.debug("engine: %s", record.summary)
    return engine if record.engine == name else plain


def _measure(plain: Engine, name: str, engine: Engine, batches: Sequence[torch.Tensor]) -> "EngineRecord":
    """Time two engines; the record has the rates of the batch on which the other gains least."""
    rates = [
        {key: len(batch) / _fastest_seconds(value, batch) for key, value in (("torch", plain), (name, engine))}
        for batch in batches
    ]
    least = min(rates, key=lambda rate: rate[name] / rate["torch"])
    chosen = name if least[name] >= MIN_SPEEDUP * least["torch"] else "torch"
    return EngineRecord(engine=chosen, images_per_second=least)


def agreeing_engine(name: str, compiler: Compiler, pixels: torch.Tensor, expected: torch.Tensor) -> Engine | None:
    """Return a compiled engine, or ``None``, logged, if it fails or computes something else than expected."""
    try:
        engine = compiler(name)
        difference = _difference(engine(pixels), expected)
    except Exception as error:  # engines raise whatever they like; torch computes the same
        log.debug("engine: %s cannot run this network (%s)", name, first_line(error))
        return None
    if difference > TOLERANCE:
        log.debug("engine: %s differs from torch by %.1e of the largest value: not used", name, difference)
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


def read_record(path: Path) -> EngineRecord | None:
    """Return a remembered choice; a damaged one is measured again."""
    try:
        record = EngineRecord.model_validate_json(read_bytes(path, MAX_RECORD_BYTES))
    except (OSError, ValidationError):
        return None
    known = record.engine in ENGINES and {"torch", record.engine} <= set(record.images_per_second)
    return record if known and all(rate > 0 for rate in record.images_per_second.values()) else None


def _fastest_seconds(engine: Engine, pixels: torch.Tensor) -> float:
    """Return the shortest time of a batch, of two runs or, of a short batch, as many as take `TIMING_SECONDS`."""
    seconds: list[float] = []
    while len(seconds) < 2 or sum(seconds) < TIMING_SECONDS:
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
