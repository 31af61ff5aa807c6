"""Which engine runs frozen stages fastest: plain torch, Frostline's torch pass, OpenVINO or ONNX Runtime?

    python -m bench engines [--networks alexnet,efficientnet-lite0,...] [--sizes 128,224] [--repeats 5] [--channels 3]

For every network and size, images per second of a batch of pixels to features in float32: the plain loop (normalize,
then the stages, NCHW, as most scripts do), and each engine. The engines take turns, and the medians are printed, with
the seconds that compiling took. Asserts that every engine agrees with the plain loop within 1e-4 of the largest
feature. Weights are random. Networks of other packages need timm.

About 10 minutes on 2 cores.
"""

import statistics
import time
from collections.abc import Sequence

import torch

from bench.common.options import start
from bench.common.tables import Table
from frostline.data.preprocess import Preprocess
from frostline.features.compile import ENGINES, Engine, compile_engine
from frostline.features.engine import TOLERANCE
from frostline.features.forward import FastForward
from frostline.models.boundary import Frozen, make_boundary
from frostline.models.registry import load_backbone

NETWORKS = (
    "alexnet,efficientnet-lite0,timm:resnet18,timm:mobilenetv3_small_100,timm:convnext_atto,timm:vit_small_patch16_224"
)


def frozen_pass(network: str, size: int) -> FastForward:
    """Return the frozen stages of a network with random weights; their speed does not depend on them."""
    backbone = load_backbone(network, "random")
    frozen = Frozen(backbone, make_boundary(backbone, backbone.feature_stage, backbone.usual_taps))
    return FastForward(frozen, Preprocess(size, *backbone.intake.normalization), torch.device("cpu"))


def plain_loop(network: str, size: int) -> Engine:
    """Return the loop of most scripts: NCHW, every stage as it is."""
    forward = frozen_pass(network, size)
    frozen = forward.frozen.to(memory_format=torch.contiguous_format)

    @torch.inference_mode()
    def run(pixels: torch.Tensor) -> torch.Tensor:
        normalized = forward.preprocess.normalize(pixels).contiguous()
        features: torch.Tensor = frozen(normalized)
        return features

    return run


def measure(network: str, size: int, channels: int, repeats: int) -> dict[str, tuple[float, float]]:
    """Return images per second and the seconds of compiling, by engine."""
    forward = frozen_pass(network, size)
    pixels = torch.rand(forward.batch_size, channels, size, size) * 255
    engines, compiling = {"plain": plain_loop(network, size)}, {"plain": 0.0}
    for name in ENGINES:
        begun = time.perf_counter()
        engines[name] = compile_engine(name, forward, pixels)
        compiling[name] = time.perf_counter() - begun
    expected = engines["plain"](pixels)
    for name, engine in engines.items():
        difference = float((engine(pixels) - expected).abs().max() / expected.abs().max())
        assert difference <= TOLERANCE, (network, name, difference)
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(repeats):
        for name, engine in engines.items():
            begun = time.perf_counter()
            engine(pixels)
            seconds[name].append(time.perf_counter() - begun)
    return {name: (len(pixels) / statistics.median(times), compiling[name]) for name, times in seconds.items()}


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, networks=NETWORKS, sizes="128,224", repeats=5, channels=3)
    table = Table("network:>28", "px:>4", "plain:>7", *(f"{name} (compiled in):>24" for name in ENGINES))
    for network in options.networks.split(","):
        for size in map(int, options.sizes.split(",")):
            if size != 224 and network.startswith("timm:vit"):  # made for one size
                continue
            found = measure(network, size, options.channels, options.repeats)
            rates = [f"{found[name][0]:,.0f} ({found[name][1]:.0f} s)" for name in ENGINES]
            table.row(network, size, f"{found['plain'][0]:,.0f}", *rates)
