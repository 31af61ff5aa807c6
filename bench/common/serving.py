"""A server of one trained model, clients that speak HTTP/1.1 to it, and the model's own answers."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.common.machine import MIB
from bench.common.runs import fit_in
from frostline import Classifier, TrainConfig
from frostline.data.fashion_mnist import load

CLIENTS = 32
KEY = "a-key-for-the-benchmark"
Answer = tuple[int, bytes]
Send = Callable[["Client"], Awaitable[Answer]]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


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

    def __init__(self, run: Path, keys: Path, engine: str = "auto", python: Sequence[str] = (sys.executable,)) -> None:
        command = [*python, "-m", "frostline", "serve", str(run), "--engine", engine]
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--api-key-file", str(keys)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        log = iter(self._process.stdout.readline, "")
        line = next(line for line in log if line.startswith("serving"))
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

    def own_memory(self) -> float:
        """Return the resident memory of the server's process."""
        return _resident(self._process.pid) / MIB

    def shared_memory(self) -> float:
        """Return the resident memory of all its processes; a page that several have counts once."""
        return sum(map(_proportional, self.processes())) / MIB

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


def _proportional(number: int) -> int:
    with suppress(OSError):
        lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return 0


def _seconds(number: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


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


def sends(*parts: bytes, pause: float = 0.0) -> Send:
    """Return a request that sends these bytes."""
    return lambda client: client.send(*parts, pause=pause)


def probabilities(body: bytes, classes: Sequence[str]) -> np.ndarray:
    """Return the probabilities (images, classes) of a response."""
    named = [
        {one["class"]: one["probability"] for one in result["predictions"]} for result in json.loads(body)["results"]
    ]
    return np.array([[one[name] for name in classes] for one in named])


@dataclass(frozen=True)
class Served:
    """A trained model: its run, test images as PNG files, and what the model says of them."""

    run: Path
    keys: Path
    classes: Sequence[str]
    files: Sequence[bytes]
    expected: np.ndarray

    @contextmanager
    def server(self, engine: str = "auto") -> Iterator[Server]:
        """Start a server; at the end it must stop with exit code 0."""
        server = Server(self.run, self.keys, engine)
        try:
            yield server
        finally:
            code = server.stop()
        assert code == 0, "the server did not stop properly"

    def check(self, number: int, status: int, body: bytes) -> None:
        """Assert that the response to one image is the model's."""
        assert status == 200, (status, body)
        np.testing.assert_allclose(
            probabilities(body, self.classes)[0], self.expected[number % len(self.files)], atol=1e-5
        )

    def requests(self) -> list[bytes]:
        """Return a request for each image."""
        return [request([("x.png", data)]) for data in self.files]


@contextmanager
def trained_model(limit: int, image_size: int, model: str = "alexnet") -> Iterator[Served]:
    """Train a model on Fashion-MNIST in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(data="fashion-mnist", model=model, limit=limit, image_size=image_size)
        run = fit_in(folder, config, name="served")
        classifier = Classifier.load(run.folder)
        images = list(load().test.images[:256])
        keys = Path(folder, "keys")
        keys.write_text(KEY)
        yield Served(
            run.folder, keys, classifier.class_names, [png(image) for image in images], classifier.predict_proba(images)
        )
