"""Does a server stay fast, correct and small while one request in ten is hostile?

    python -m bench attack [--requests 5000] [--share 0.1] [--image-size 128] [--limit 2000]

32 clients send the requests. Hostile ones are the files of `tests.hostile_files.COSTLY` (scans, floats, zeros, runs,
comments, chunks, frames, bombs), alone, 32 together and one beside a good image; truncated files, other types, broken
and slow bodies, vast headers, JSON of very many values. Prints answers and times of each kind, and the memory of the
server and its decoding processes. Asserts that every good request gets the model's own answer within 3 s, that there is
no 5xx but a deliberate 503, that memory grows by at most 1 GiB, and that all processes end with the server, even when
it is killed.

About 3 minutes on 2 cores.
"""

import asyncio
import json
import os
import signal
import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.common.machine import MIB
from bench.common.options import start
from bench.common.serving import (
    CLIENTS,
    Answer,
    Client,
    Send,
    Served,
    Server,
    drive,
    head,
    request,
    sends,
    trained_model,
)
from bench.common.tables import Table
from tests.hostile_files import COSTLY, cut

MOST_SECONDS = 3.0  # of a good request
MOST_MEMORY = 1024  # MiB over idle
MOST_GONE_SECONDS = 5.0  # that a decoding process may outlive its server


class Peak(threading.Thread):
    """Watches a server's memory from a thread."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self._server, self._ended = server, threading.Event()
        self.most = 0.0

    def run(self) -> None:
        while not self._ended.wait(0.02):
            self.most = max(self.most, self._server.memory())

    def end(self) -> float:
        self._ended.set()
        self.join()
        return self.most


def attacks(good: bytes) -> dict[str, Send]:
    """Return each kind of hostile request."""
    files = {name: make() for name, make in COSTLY.items()}
    wrong = [*cut(20).values(), b"", bytes(5000), b"GIF89a", b"<html>"]
    body = request([("x.png", good)])
    found: dict[str, Send] = {name: sends(request([(name, data)])) for name, data in files.items()}
    found |= {
        "32 of scans": sends(request([("x.jpg", files["allowed scans.jpg"])] * 32)),
        "32 of floats": sends(request([("x.tif", files["floats.tif"])] * 32)),
        "all at once": sends(request(list(files.items()))),
        "good and costly": sends(request([("x.png", good), ("y.tif", files["floats.tif"])])),
        "cut and empty": sends(request([(f"{n}", data) for n, data in enumerate(wrong)])),
        "31 MiB of noise": sends(request([("x.jpg", b"\xff\xd8\xff" + os.urandom(31 * MIB))])),
        "other type": sends(head("Content-Length: 4", kind="text/plain") + b"abcd"),
        "broken multipart": sends(body.replace(b"--edge--", b"--edgy--")),
        "JSON of numbers": sends(_json(b'{"images": [' + b"1," * 4_000_000 + b"1]}")),
        "JSON of lists": sends(_json(b"[" * 8_000_000)),
        "invalid base64": sends(_json(json.dumps({"images": ["%" * 1000] * 32}).encode())),
        "vast header": sends(b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n"),
        "slow body": sends(head("Content-Length: 1000"), *[b"x"] * 20, pause=0.5),
        "gone at once": _leaves(request([("x.tif", files["floats.tif"])])),
    }
    return found


def _json(body: bytes) -> bytes:
    return head(f"Content-Length: {len(body)}", kind="application/json") + body


def _leaves(body: bytes) -> Send:
    """Send a request and go away before it is answered."""

    async def send(client: Client) -> Answer:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.005):
                return await client.send(body)
        return 0, b""

    return send


async def attack(server: Server, model: Served, count: int, share: float) -> None:
    """Send all requests and print the answers, times and memory."""
    requests = model.requests()
    kinds = attacks(model.files[0])
    every, names = round(1 / share), list(kinds)
    good_times: list[float] = []
    bad_times: dict[str, list[float]] = defaultdict(list)
    statuses: dict[str, Counter[int]] = defaultdict(Counter)
    aside: list[asyncio.Task[None]] = []

    async def good(client: Client, number: int) -> None:
        begun = time.perf_counter()
        status, body = await client.send(requests[number % len(requests)])
        if status == 0:  # the server closed this connection, idle while its client attacked
            status, body = await client.send(requests[number % len(requests)])
        good_times.append(time.perf_counter() - begun)
        statuses["good"][status] += 1
        model.check(number, status, body)

    async def hostile(name: str) -> None:
        client, begun = Client(server.port), time.perf_counter()
        status, body = await kinds[name](client)
        bad_times[name].append(time.perf_counter() - begun)
        client.close()
        statuses[name][status] += 1
        assert status in (0, 200, 400, 408, 413, 415, 422, 431, 503), (name, status, body[:200])
        if name == "good and costly":
            assert "predictions" in json.loads(body)["results"][0], body

    async def job(client: Client, number: int) -> None:
        name = names[number // every % len(names)]
        if number % every:
            await good(client, number)
        elif name == "slow body":
            aside.append(asyncio.create_task(hostile(name)))
        else:
            await hostile(name)

    idle, peak = server.memory(), Peak(server)
    peak.start()
    seconds = await drive(server.port, [lambda client, n=n: job(client, n) for n in range(count)])
    await asyncio.gather(*aside)
    most = peak.end()
    good_times.sort()
    print(f"{count:,} requests in {seconds:.0f} s, {len(good_times):,} of them good, {CLIENTS} clients\n")
    table = Table("request:20", "answers (status x times):34", "median s:>8", "most s:>7")
    for name, times in {"good": good_times, **bad_times}.items():
        answers = ", ".join(f"{status or 'closed'} x {n:,}" for status, n in sorted(statuses[name].items()))
        table.row(name, answers, f"{statistics.median(times):.3f}", f"{max(times):.3f}")
    print(f"\ngood: p99 {good_times[int(0.99 * len(good_times))]:.3f} s")
    print(f"memory: {idle:.0f} MiB idle, at most {most:.0f} MiB ({most - idle:+.0f})", flush=True)
    assert good_times[-1] <= MOST_SECONDS, "a good request waited too long"
    assert most - idle <= MOST_MEMORY, "memory grew too much"


async def kill_while_decoding(server: Server) -> float:
    """Kill a server that decodes; return after how many seconds its decoding processes had ended."""
    ask = request([("x.tif", COSTLY["floats.tif"]())] * 8)
    asking = [asyncio.create_task(Client(server.port).send(ask)) for _ in range(4)]
    await asyncio.sleep(1)
    server_process, *others = server.processes()
    assert others, "nothing decodes"
    os.kill(server_process, signal.SIGKILL)
    begun = time.perf_counter()
    while any(_lives(number) for number in others):
        assert time.perf_counter() - begun < MOST_GONE_SECONDS, "a decoding process outlives its server"
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - begun
    await asyncio.gather(*asking)
    return seconds


def _lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        requests=5_000,
        share={"type": float, "default": 0.1, "help": "of hostile requests"},
        image_size=128,
        limit=2_000,
    )
    with trained_model(options.limit, options.image_size) as model:
        with model.server() as server:
            asyncio.run(attack(server, model, options.requests, options.share))
        server = Server(model.run, model.keys)
        seconds = asyncio.run(kill_while_decoding(server))
        print(f"killed while it decodes: its processes end after {seconds:.2f} s")
