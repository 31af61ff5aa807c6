"""What does the server add to the bare model's time, and does it withstand hostile requests?

    python -m bench serve [--requests 10000] [--images 2048] [--turns 9] [--image-size 128] [--limit 2000]

First the bare model (`Classifier.predict_proba` on decoded images, in a process of its own) and the server with 32
concurrent clients take turns, with batches of the same size; clients run on the same cores. Each turn of the server is
compared with the bare model's before and after it, and the median of these ratios is printed, with images per second
and the processor time of an image for server, clients and bare model. Then 32 clients send `--requests` requests of one
image, 5 % of them hostile: cut and vast PNGs, other types, a body that claims 1 GiB, chunks without end, headers that
arrive slowly, path names, wrong keys. Asserts that nothing but the deliberate 503 is a 5xx, that every good request
gets the model's answer, and that memory does not grow.

About 10 minutes on 2 cores.
"""

import asyncio
import multiprocessing
import statistics
import struct
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from bench.common.machine import MIB
from bench.common.options import start
from bench.common.serving import (
    CLIENTS,
    KEY,
    Client,
    Send,
    Served,
    Server,
    drive,
    head,
    png,
    request,
    sends,
    trained_model,
)
from frostline import Classifier
from frostline.data.fashion_mnist import load

HOSTILE_SHARE = 0.05


def vast_png() -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]  # fmt: skip
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def compute(run: Path, pipe: Connection) -> None:
    """For each (count, batch) that comes, send the model's images per second and the processor time of one."""
    classifier, images = Classifier.load(run), load().test.images
    while job := pipe.recv():
        count, batch = job
        batch_images = list(images[:batch])
        classifier.predict_proba(batch_images)
        begun, busy = time.perf_counter(), time.process_time()
        for _ in range(count // batch):
            classifier.predict_proba(batch_images)
        done = count // batch * batch
        pipe.send((done / (time.perf_counter() - begun), (time.process_time() - busy) / done))


class Bare:
    """The model alone, on decoded images, in a process of its own."""

    def __init__(self, run: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=compute, args=(run, theirs))
        self._process.start()

    def rate(self, count: int, batch: int) -> tuple[float, float]:
        """Return images per second, and the processor time of one in seconds."""
        self._pipe.send((count, batch))
        found: tuple[float, float] = self._pipe.recv()
        return found

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join()


async def served_rate(
    server: Server, files: Sequence[bytes], per_request: int, count: int
) -> tuple[float, float, float, float]:
    """Return images per second and per batch, and the processor time of one: the server's, the clients'."""
    requests = [request([("x.png", data) for data in files[i : i + per_request]]) for i in range(0, 256, per_request)]

    async def job(client: Client, number: int) -> None:
        status, _ = await client.send(requests[number % len(requests)])
        assert status == 200, status

    before = await batches(server.port)
    served, spent = server.seconds(), time.process_time()
    jobs = [lambda client, n=n: job(client, n) for n in range(count // per_request)]
    seconds = await drive(server.port, jobs)
    served, spent = server.seconds() - served, time.process_time() - spent
    after = await batches(server.port)
    done = len(jobs) * per_request
    return done / seconds, (after[0] - before[0]) / (after[1] - before[1]), served / done, spent / done


async def batches(port: int) -> tuple[float, float]:
    client = Client(port)
    status, body = await client.send(f"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    client.close()
    assert status == 200
    found = [body.decode().split(f"frostline_batch_images_{what} ")[1].split()[0] for what in ("sum", "count")]
    return float(found[0]), float(found[1])


def hostile_kinds(good: bytes) -> dict[str, tuple[set[int], Send]]:
    """Return each kind of hostile request with the statuses that are right for it; 0: closed without a word."""
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    path = f"GET /../../../../etc/passwd HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    return {
        "cut PNG": ({422}, sends(request([("cut.png", noise[:2000])]))),
        "50,000 x 50,000 PNG": ({422}, sends(request([("vast.png", vast_png())]))),
        "wrong type": ({415}, sends(head("Content-Length: 4", kind="text/plain") + b"abcd")),
        "1 GiB that lies": ({413}, sends(head(f"Content-Length: {1 << 30}"), bytes(1000))),
        "chunks without end": ({0, 413}, sends(head("Transfer-Encoding: chunked"), *[chunk] * 40)),
        "slow loris": ({0, 408}, sends(b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 9, pause=1.0)),
        "path in the address": ({404}, sends(path)),
        "path as a name": ({200}, sends(request([("../../etc/passwd", good)]))),
        "wrong key": ({401}, sends(request([("x.png", good)], KEY + "x"))),
    }


async def storm(server: Server, model: Served, count: int) -> None:
    """Send all requests and print the answers, times and memory."""
    requests = model.requests()
    kinds = hostile_kinds(model.files[0])
    times: list[float] = []
    statuses: Counter[tuple[str, int]] = Counter()
    memory: list[float] = []
    slow: list[asyncio.Task[None]] = []

    async def good(client: Client, number: int) -> None:
        while True:
            begun = time.perf_counter()
            status, body = await client.send(requests[number % len(requests)])
            statuses["good", status] += 1
            if status != 503:
                break
            await asyncio.sleep(0.1)
        times.append(time.perf_counter() - begun)
        model.check(number, status, body)
        if len(times) % max(1, count // 20) == 0:
            memory.append(server.memory())

    async def hostile(name: str) -> None:
        right, send = kinds[name]
        client = Client(server.port)
        status, body = await send(client)
        client.close()
        statuses[name, status] += 1
        assert status in right | {503}, (name, status, body[:200])

    async def job(client: Client, number: int) -> None:
        if number % round(1 / HOSTILE_SHARE):
            await good(client, number)
            return
        name = list(kinds)[number // round(1 / HOSTILE_SHARE) % len(kinds)]
        if name == "slow loris":
            slow.append(asyncio.create_task(hostile(name)))  # waiting for it would slow the benchmark
        else:
            await hostile(name)

    seconds = await drive(server.port, [lambda client, n=n: job(client, n) for n in range(count)])
    await asyncio.gather(*slow)
    times.sort()
    print(f"{count:,} requests of one image in {seconds:.1f} s, {count / seconds:.0f}/s, 5 % of them hostile")
    print(f"good ones: median {1e3 * times[len(times) // 2]:.0f} ms, p99 {1e3 * times[int(0.99 * len(times))]:.0f} ms")
    for (name, status), times_seen in sorted(statuses.items()):
        print(f"  {name}: {status or 'closed'} x {times_seen:,}")
    early, late = statistics.median(memory[5:10]), statistics.median(memory[-5:])
    print(f"memory: {early:.0f} MiB after a quarter to a half, {late:.0f} MiB at the end")
    assert not any(status >= 500 and status != 503 for _, status in statuses), "a 5xx other than the deliberate 503"
    assert late <= 1.1 * early, "memory grows"


def take_turns(server: Server, bare: Bare, files: Sequence[bytes], per_request: int, count: int, turns: int) -> None:
    """Measure server and bare model in turn, with batches of the size that the server makes, and print medians."""

    def serve() -> tuple[float, float, float, float]:
        return asyncio.run(served_rate(server, files, per_request, count))

    batch = max(1, round(serve()[1]))
    alone = bare.rate(count, batch)
    rows = []
    for _ in range(turns):
        before, found, alone = alone, serve(), bare.rate(count, batch)
        rows.append((*found, *alone, 2 * found[0] / (before[0] + alone[0])))
    rate, size, served, spent, model_rate, model, ratio = map(statistics.median, zip(*rows, strict=True))
    ratios = sorted(row[-1] for row in rows)
    print(
        f"{per_request} images a request, {CLIENTS} clients: {rate:.0f} images/s in batches of {size:.1f}; "
        f"bare model in batches of {batch}: {model_rate:.0f}\n"
        f"  ratio {ratio:.2f} (median of {turns} turns, {ratios[0]:.2f} to {ratios[-1]:.2f})\n"
        f"  processor time of an image: server {1e3 * served:.2f} ms, clients {1e3 * spent:.2f} ms, bare model "
        f"{1e3 * model:.2f} ms",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        requests=10_000,
        images={"type": int, "default": 2_048, "help": "of each turn"},
        turns={"type": int, "default": 9, "help": "of measuring throughput; 0: none"},
        image_size=128,
        limit=2_000,
    )
    with trained_model(options.limit, options.image_size) as model, model.server() as server:
        for per_request in (8, 1) if options.turns else ():
            bare = Bare(model.run)
            take_turns(server, bare, model.files, per_request, options.images, options.turns)
            bare.stop()
        asyncio.run(storm(server, model, options.requests))
