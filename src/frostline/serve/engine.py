"""The engine of a server: the whole network, for batches of any size, several of them at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from frostline._utils.hashing import digest_json
from frostline._utils.progress import log
from frostline.data.drawn_objects import load_prior
from frostline.features.compile import Batches, Engine, check_engine, compile_engine, installed_engines
from frostline.features.engine import agreeing_engine, faster_engine, record_file
from frostline.inference.probabilities import Probabilities
from frostline.serve.limits import SHARES, THREADS

AUTOMATIC = "openvino"  # compiled in 1 to 5 s; ONNX Runtime takes 10 and more, at every start
BATCH_SIZES = (1, 8)  # to time: a request of one image, and `frostline.serve.limits.Limits.min_batch`


def limit_torch_threads() -> None:
    """Limit torch to this thread's share of the cores."""
    torch.set_num_threads(THREADS)


def select_engine(name: str, network: Probabilities, cache: Path) -> Engine:
    """Return a network in the engine that was asked for or, with ``auto``, in OpenVINO where that is much faster.

    An engine is compiled and compared with torch on a batch of drawn images. One that fails, or whose probabilities
    differ by more than `frostline.features.engine.TOLERANCE`, is not used: torch computes, and the log says so.

    Parameters
    ----------
    name : str
        ``auto`` or one of `frostline.features.compile.ENGINES`. As in the frozen pass, ``auto`` leaves networks like
        AlexNet in torch, and remembers what it has measured.
    cache : Path
        Frostline's cache folder.

    Raises
    ------
    ConfigError
        When the engine is not installed.
    """
    check_engine(name, network.forward.device)
    if name == "auto" and (network.forward.is_folded or AUTOMATIC not in installed_engines()):
        return network
    if name == "torch":
        return network
    with ThreadPoolExecutor(
        1, initializer=limit_torch_threads
    ) as thread:  # torch is timed as the server's threads run it
        return thread.submit(_select, name, network, cache).result()


def _select(name: str, network: Probabilities, cache: Path) -> Engine:
    images = np.asarray(load_prior(max(BATCH_SIZES), 1).images)
    pixels = network.forward.preprocess.resize(images)  # (B, 3, S, S)
    expected = network(pixels)
    batches = Batches(any_size=True, at_once=SHARES, threads=THREADS)

    def compiler(engine: str) -> Engine:
        compiled = compile_engine(engine, network.forward, pixels, network.after, batches)
        return lambda batch: compiled(batch.expand(-1, 3, -1, -1))  # all images of a batch may be gray

    if name == "auto":
        file = record_file(cache, _identity(network), pixels, network.forward.device)
        sizes = [pixels[:size] for size in BATCH_SIZES]
        return faster_engine(network, AUTOMATIC, compiler, sizes, expected, file)
    engine = agreeing_engine(name, compiler, pixels, expected)
    if engine is None:
        log.warning("--engine %s is not used: torch computes the predictions", name)
    return engine or network


def _identity(network: Probabilities) -> str:
    """Return a digest of what decides how fast the network is: its tensors' names and shapes, and the threads."""
    modules = {"frozen": network.forward.frozen, "after": network.after}
    shapes = {
        f"{part}.{name}": list(tensor.shape)
        for part, module in modules.items()
        for name, tensor in module.state_dict().items()
    }
    return digest_json([shapes, SHARES, THREADS])
