"""A real server in a process of its own, and a small client for it."""

import base64
import http.client
import io
import json
import multiprocessing.connection
import os
import signal
import sys
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.commands import PROCESSES, measured

START_SECONDS = 60


class Running:
    """A server of a run on a free port of 127.0.0.1."""

    def __init__(
        self,
        folder: Path,
        limits: Mapping[str, float] | None = None,
        keys: Path | None = None,
        reject: float | None = None,
        engine: str = "auto",
    ) -> None:
        here, there = multiprocessing.Pipe(False)
        self.process = PROCESSES.Process(target=_serve, args=(folder, dict(limits or {}), keys, reject, engine, there))
        self.process.start()
        there.close()
        if not here.poll(START_SECONDS):
            self.process.kill()
            raise TimeoutError
        self.address: str = here.recv()
        self.host = self.address.removeprefix("http://").strip("/")

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=20)

    def ask(self, path: str, body: bytes | None = None, **headers: str) -> "Reply":
        connection = self.connection()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET" if body is None else "POST", path, body, named)
        reply = read(connection)
        connection.close()
        return reply

    def predict(self, files: Sequence[tuple[str, bytes]], query: str = "", **headers: str) -> "Reply":
        body, kind = form(files)
        return self.ask(f"/v1/predict{query}", body, content_type=kind, **headers)

    def processes(self) -> list[int]:
        """The numbers of the server's process and of those that decode for it."""
        number = self.process.pid
        children = [found.read_text().split() for found in Path(f"/proc/{number}/task").glob("*/children")]
        return [number or 0, *(int(child) for some in children for child in some)]

    def memory(self) -> int:
        """Resident bytes of all its processes."""
        found = [Path(f"/proc/{number}/statm").read_text().split()[1] for number in self.processes()]
        return sum(map(int, found)) * os.sysconf("SC_PAGE_SIZE")

    def terminate(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process.pid or 0, signal.SIGTERM)

    def close(self) -> None:
        if self.process.is_alive():
            self.terminate()
            self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


def read(connection: http.client.HTTPConnection) -> Reply:
    response = connection.getresponse()
    return Reply(response.status, response.headers, response.read())


def form(files: Sequence[tuple[str, bytes]], field: str = "images") -> tuple[bytes, str]:
    """A multipart body and its content type."""
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--edge--\r\n", "multipart/form-data; boundary=edge"


def as_json(files: Sequence[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(data).decode() for data in files]}).encode()


def png(pixels: np.ndarray) -> bytes:
    return encoded(pixels, "PNG")


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def _serve(
    folder: Path,
    limits: dict[str, Any],
    keys: Path | None,
    reject: float | None,
    engine: str,
    ready: "multiprocessing.connection.Connection",
) -> None:
    sys.modules["__main__"] = types.ModuleType("__main__")
    from frostline.serve.limits import Limits
    from frostline.serve.middleware import read_keys
    from frostline.serve.model import load_served
    from frostline.serve.server import serve

    with measured():
        served = load_served(str(folder), folder.parent, engine)
        serve(served, "127.0.0.1", 0, read_keys(keys) if keys else None, ready.send, Limits(**limits), reject)
