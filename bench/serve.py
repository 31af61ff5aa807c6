"""What does the server add to the model, and what does it do when strangers come? One server, one model, this machine.

    python bench/serve.py [--requests 10000] [--pictures 2048] [--turns 9] [--image-size 128] [--limit 2000]

First the bare model (`Classifier.predict_proba` on decoded pictures, in a process of its own) and the server with 32
concurrent clients take turns, with batches of the same size; clients run on the same cores. Each turn of the server is
compared with the bare model's before and after it, and the median of these ratios counts, since other tenants of the
machine come and go. Beside the pictures per second stands the processor time that a picture took of the server, its
clients and the bare model. Then so many requests of one picture come from 32 clients, 5 % of them hostile: cut and vast
PNGs, other types, a body that claims 1 GiB, chunks without end, headers that drip, path names, wrong keys. Asserts that
nothing but the deliberate 503 is a 5xx, that every good request gets the model's answer, and that memory stays flat.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

CLIENTS = 32
KEY = "a-key-for-the-benchmark"
HOSTILE_SHARE = 0.05
MIB = 1 << 20
Answer = tuple[int, bytes]


def png(pixels: np.ndarray) -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def vast_png() -> bytes:
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(1000))),
        (b"IEND", b""),
    ]  # fmt: skip
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def head(
    length: str, key: str = KEY, kind: str = "multipart/form-data; boundary=edge", path: str = "/v1/predict"
) -> bytes:
    lines = [f"POST {path}?top=10 HTTP/1.1", "Host: bench", f"X-API-Key: {key}", f"Content-Type: {kind}", length]
    return "\r\n".join([*lines, "", ""]).encode()


def request(files: Sequence[tuple[str, bytes]], key: str = KEY) -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files
    ]
    body = b"".join(parts) + b"--edge--\r\n"
    return head(f"Content-Length: {len(body)}", key) + body


class Client:
    """One connection, opened again when the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, *parts: bytes, pause: float = 0.0) -> Answer:
        """Send parts and return status and body; status 0: closed without a word."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            for part in parts:
                self._writer.write(part)
                await self._writer.drain()
                if pause:
                    await asyncio.sleep(pause)
            return await self._read()
        except (ConnectionError, asyncio.IncompleteReadError):
            self.close()
            return 0, b""

    async def _read(self) -> Answer:
        header = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(header.split(b"content-length: ")[1].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if b"connection: close" in header:
            self.close()
        return int(header[9:12]), body

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class Server:
    """`frostline serve` in a process of its own."""

    def __init__(self, run: Path, keys: Path) -> None:
        command = [sys.executable, "-m", "frostline", "serve", str(run)]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--api-key-file", str(keys)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        line = self._process.stdout.readline()
        self.port = int(line.strip().rstrip("/").rsplit(":", 1)[1])

    def processes(self) -> list[int]:
        """Return the numbers of the server's process and of those that it started."""
        found = [self._process.pid]
        for number in found:
            for children in Path(f"/proc/{number}/task").glob("*/children"):
                with suppress(OSError):  # it has just ended
                    found += map(int, children.read_text().split())
        return found

    def memory(self) -> float:
        """Return the resident memory of all its processes."""
        return sum(_resident(number) for number in self.processes()) / MIB

    def seconds(self) -> float:
        """Return the processor time that they took so far."""
        return sum(map(_seconds, self.processes()))

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)


def _resident(number: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _seconds(number: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def compute(run: Path, wishes: Connection) -> None:
    """For each (count, batch) that comes, send the model's pictures per second and the processor time of one."""
    from frostline import Classifier
    from frostline.images.fashion_mnist import load

    classifier, images = Classifier.load(run), load().test.images
    while wish := wishes.recv():
        count, batch = wish
        pictures = list(images[:batch])
        classifier.predict_proba(pictures)
        begun, busy = time.perf_counter(), time.process_time()
        for _ in range(count // batch):
            classifier.predict_proba(pictures)
        done = count // batch * batch
        wishes.send((done / (time.perf_counter() - begun), (time.process_time() - busy) / done))


class Bare:
    """The model alone, decoded pictures at hand, in a process of its own."""

    def __init__(self, run: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._wishes, theirs = context.Pipe()
        self._process = context.Process(target=compute, args=(run, theirs))
        self._process.start()

    def rate(self, count: int, batch: int) -> tuple[float, float]:
        """Return pictures per second, and the processor time of one in seconds."""
        self._wishes.send((count, batch))
        found: tuple[float, float] = self._wishes.recv()
        return found

    def stop(self) -> None:
        self._wishes.send(None)
        self._process.join()


async def drive(port: int, jobs: Sequence[Callable[[Client], Awaitable[None]]]) -> float:
    """Let 32 clients work through jobs and return the seconds it took."""
    left = iter(jobs)

    async def work() -> None:
        client = Client(port)
        for job in left:
            await job(client)
        client.close()

    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return time.perf_counter() - begun


async def served_rate(
    server: Server, files: Sequence[bytes], per_request: int, count: int
) -> tuple[float, float, float, float]:
    """Return pictures per second and per batch, and the processor time of one: the server's, the clients'."""
    asks = [request([("x.png", data) for data in files[i : i + per_request]]) for i in range(0, 256, per_request)]

    async def job(client: Client, number: int) -> None:
        status, _ = await client.send(asks[number % len(asks)])
        assert status == 200, status

    before = await batches(server.port)
    served, asked = server.seconds(), time.process_time()
    jobs = [lambda client, n=n: job(client, n) for n in range(count // per_request)]
    seconds = await drive(server.port, jobs)
    served, asked = server.seconds() - served, time.process_time() - asked
    after = await batches(server.port)
    done = len(jobs) * per_request
    return done / seconds, (after[0] - before[0]) / (after[1] - before[1]), served / done, asked / done


async def batches(port: int) -> tuple[float, float]:
    client = Client(port)
    status, body = await client.send(f"GET /metrics HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    client.close()
    assert status == 200
    found = [body.decode().split(f"frostline_batch_pictures_{what} ")[1].split()[0] for what in ("sum", "count")]
    return float(found[0]), float(found[1])


def hostile_kinds(good: bytes) -> dict[str, tuple[set[int], Callable[[Client], Awaitable[Answer]]]]:
    """Return each kind of hostile request with the statuses that are right for it; 0: closed without a word."""
    noise = png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))
    chunk = b"100000\r\n" + bytes(MIB) + b"\r\n"
    path = f"GET /../../../../etc/passwd HTTP/1.1\r\nHost: bench\r\nX-API-Key: {KEY}\r\n\r\n".encode()
    return {
        "cut PNG": ({422}, lambda c: c.send(request([("cut.png", noise[:2000])]))),
        "50,000 x 50,000 PNG": ({422}, lambda c: c.send(request([("vast.png", vast_png())]))),
        "wrong type": ({415}, lambda c: c.send(head("Content-Length: 4", kind="text/plain") + b"abcd")),
        "1 GiB that lies": ({413}, lambda c: c.send(head(f"Content-Length: {1 << 30}"), bytes(1000))),
        "chunks without end": ({0, 413}, lambda c: c.send(head("Transfer-Encoding: chunked"), *[chunk] * 40)),
        "slow loris": ({0, 408}, lambda c: c.send(b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 9, pause=1.0)),
        "path in the address": ({404}, lambda c: c.send(path)),
        "path as a name": ({200}, lambda c: c.send(request([("../../etc/passwd", good)]))),
        "wrong key": ({401}, lambda c: c.send(request([("x.png", good)], KEY + "x"))),
    }


async def storm(server: Server, files: Sequence[bytes], expected: np.ndarray, classes: list[str], count: int) -> None:
    asks = [request([("x.png", data)]) for data in files]
    kinds = hostile_kinds(files[0])
    times: list[float] = []
    statuses: Counter[tuple[str, int]] = Counter()
    memory: list[float] = []
    slow: list[asyncio.Task[None]] = []

    async def good(client: Client, number: int) -> None:
        while True:
            begun = time.perf_counter()
            status, body = await client.send(asks[number % len(asks)])
            statuses["good", status] += 1
            if status != 503:
                break
            await asyncio.sleep(0.1)
        times.append(time.perf_counter() - begun)
        assert status == 200, body
        named = {one["class"]: one["probability"] for one in json.loads(body)["results"][0]["predictions"]}
        got = np.array([named[name] for name in classes])
        np.testing.assert_allclose(got, expected[number % len(asks)], atol=1e-5)
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
            slow.append(asyncio.create_task(hostile(name)))  # it must not slow the benchmark, too
        else:
            await hostile(name)

    seconds = await drive(server.port, [lambda client, n=n: job(client, n) for n in range(count)])
    await asyncio.gather(*slow)
    times.sort()
    print(f"{count:,} requests of one picture in {seconds:.1f} s, {count / seconds:.0f}/s, 5 % of them hostile")
    print(f"good ones: median {1e3 * times[len(times) // 2]:.0f} ms, p99 {1e3 * times[int(0.99 * len(times))]:.0f} ms")
    for (name, status), times_seen in sorted(statuses.items()):
        print(f"  {name}: {status or 'closed'} x {times_seen:,}")
    early, late = statistics.median(memory[5:10]), statistics.median(memory[-5:])
    print(f"memory: {early:.0f} MiB after a quarter to a half, {late:.0f} MiB at the end")
    assert not any(status >= 500 and status != 503 for _, status in statuses), "a 5xx that was not meant"
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
    rate, size, served, asked, model_rate, model, ratio = map(statistics.median, zip(*rows, strict=True))
    ratios = sorted(row[-1] for row in rows)
    print(
        f"{per_request} pictures a request, {CLIENTS} clients: {rate:.0f} pictures/s in batches of {size:.1f}; "
        f"bare model in batches of {batch}: {model_rate:.0f}\n"
        f"  ratio {ratio:.2f} (median of {turns} turns, {ratios[0]:.2f} to {ratios[-1]:.2f})\n"
        f"  processor time of a picture: server {1e3 * served:.2f} ms, clients {1e3 * asked:.2f} ms, bare model "
        f"{1e3 * model:.2f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--pictures", type=int, default=2_048, help="of each turn")
    parser.add_argument("--turns", type=int, default=9, help="of measuring throughput; 0: none")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--limit", type=int, default=2_000)
    options = parser.parse_args()

    from common import machine
    from frostline import Classifier, TrainConfig, fit
    from frostline.images.fashion_mnist import load

    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(data="fashion-mnist", limit=options.limit, image_size=options.image_size)
        run = fit(config, name="served", output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
        classifier = Classifier.load(run.folder)
        pictures = list(load().test.images[:256])
        expected = classifier.predict_proba(pictures)
        files = [png(picture) for picture in pictures]
        keys = Path(folder, "keys")
        keys.write_text(KEY)
        server = Server(run.folder, keys)
        try:
            for per_request in (8, 1) if options.turns else ():
                bare = Bare(run.folder)
                take_turns(server, bare, files, per_request, options.pictures, options.turns)
                bare.stop()
            asyncio.run(storm(server, files, expected, list(classifier.class_names), options.requests))
        finally:
            code = server.stop()
        assert code == 0, "the server did not end well"


if __name__ == "__main__":
    main()
