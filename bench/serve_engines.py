"""How many images a second does the server answer with each engine, compared with torch?

    python -m bench serve_engines [--networks alexnet,efficientnet-lite0] [--engines openvino,onnxruntime]
        [--images 512] [--turns 5] [--image-size 128] [--limit 600]

For each network, servers of the same model, one with torch and one with each other engine, take turns at answering 32
concurrent clients on the same cores, with eight images and with one image a request. Each rate is divided by torch's in
the same turn; the medians are printed, with the range of the ratios. Asserts that every server's probabilities are
those of torch within 1e-4.

About 10 minutes on 2 cores.
"""

import asyncio
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from bench.common.options import start
from bench.common.serving import Client, Served, Server, probabilities, request, trained_model
from bench.common.tables import Table
from bench.serve import served_rate

CHECKED = 32  # images


async def check(server: Server, model: Served) -> None:
    """Assert that a server answers as torch."""
    client = Client(server.port)
    status, body = await client.send(request([("x.png", data) for data in model.files[:CHECKED]]))
    client.close()
    assert status == 200, (status, body)
    np.testing.assert_allclose(probabilities(body, model.classes), model.expected[:CHECKED], atol=1e-4)


def take_turns(
    servers: Mapping[str, Server], model: Served, per_request: int, images: int, turns: int
) -> dict[str, list[float]]:
    """Return each server's images per second, turn by turn."""
    rates: dict[str, list[float]] = {name: [] for name in servers}
    for turn in range(turns + 1):
        for name, server in servers.items():
            rate = asyncio.run(served_rate(server, model.files, per_request, images))[0]
            if turn:  # the first warms up
                rates[name].append(rate)
    return rates


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        networks="alexnet,efficientnet-lite0",
        engines="openvino,onnxruntime",
        images={"type": int, "default": 512, "help": "of each turn"},
        turns=5,
        image_size=128,
        limit=600,
    )
    names = ["torch", *options.engines.split(",")]
    table = Table("network:18", "images a request:>16", "engine:11", "images/s:>8", "ratio to torch:24")
    for network in options.networks.split(","):
        with trained_model(options.limit, options.image_size, network) as model, ExitStack() as running:
            servers = {name: running.enter_context(model.server(name)) for name in names}
            for server in servers.values():
                asyncio.run(check(server, model))
            for per_request in (8, 1):
                rates = take_turns(servers, model, per_request, options.images, options.turns)
                for name, found in rates.items():
                    ratios = sorted(rate / base for rate, base in zip(found, rates["torch"], strict=True))
                    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
                    table.row(network, per_request, name, f"{statistics.median(found):.0f}", spread)
