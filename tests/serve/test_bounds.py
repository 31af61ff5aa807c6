"""Limits of time, size and number, and API keys, on a server with small limits."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frostline.errors import ConfigError
from frostline.runs.folder import Run
from frostline.serve.middleware import read_keys
from tests.conftest import Frostline
from tests.serve.running import Running, form, png, read

SMALL = {"header_seconds": 0.5, "body_seconds": 0.6, "body_bytes": 1 << 20, "connections": 12, "queue": 8,
         "linger_seconds": 0.3, "held_bytes": 3 << 20}  # fmt: skip
KEY = "correct-horse-battery"
IMAGE = png(np.zeros((8, 8), np.uint8))


@pytest.fixture(scope="module")
def tight(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with small limits and API keys."""
    keys = tmp_path_factory.mktemp("keys") / "keys.txt"
    keys.write_text(f"# ours\nanother-long-enough-key\n\n{KEY}\n")
    running = Running(run.folder, SMALL, keys)
    yield running
    running.close()


def raw(server: Running, *parts: bytes, pause: float = 0.0) -> bytes:
    """Send some bytes slowly and return everything that comes back until the server closes."""
    host, port = server.host.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:
            pass
        return answer


START = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Type: {form([])[1]}\r\n".encode()


def test_slow_header_times_out(tight: Running) -> None:
    begun = time.monotonic()
    answer = raw(tight, b"GET / HTTP/1.1\r\n", *[b"X-A: b\r\n"] * 3, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"slow-header" in answer
    assert time.monotonic() - begun < 3


def test_silent_connection_is_closed(tight: Running) -> None:
    assert raw(tight) == b""


def test_slow_body_times_out(tight: Running) -> None:
    answer = raw(tight, START + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 4, pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"slow-body" in answer


def test_endless_chunks_are_cut_off(tight: Running) -> None:
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    answer = raw(tight, START + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 40)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")


def test_body_of_the_largest_size_is_read_and_one_byte_more_is_not(tight: Running) -> None:
    empty = len(form([("a", b"")])[0])
    most = SMALL["body_bytes"]
    assert tight.predict([("a", bytes(int(most) - empty))], x_api_key=KEY).status == 422  # read: it is no image
    assert tight.predict([("a", bytes(int(most) - empty + 1))], x_api_key=KEY).status == 413


def test_full_queue_sends_retry_after(tight: Running) -> None:
    reply = tight.predict([("a.png", IMAGE)] * 9, x_api_key=KEY)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert reply.json()["type"] == "urn:frostline:problem:busy"
    assert tight.predict([("a.png", IMAGE)] * 8, x_api_key=KEY).status == 200  # the places are free again


def test_bodies_together_are_bounded(tight: Running) -> None:
    body = START + b"Content-Length: 1000000\r\n\r\n" + bytes(900_000)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: raw(tight, body), range(6)))
    assert {answer[9:12] for answer in answers} == {b"408", b"503"}


def test_connections_are_bounded(tight: Running) -> None:
    host, port = tight.host.split(":")
    idle = [socket.create_connection((host, int(port)), timeout=10) for _ in range(12)]
    answer = raw(tight, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    for connection in idle:
        connection.close()
    assert answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1" in answer


def test_header_that_is_too_long_is_refused(tight: Running) -> None:
    answer = raw(tight, b"GET /healthz HTTP/1.1\r\nHost: x\r\n", *[b"X-A: " + b"b" * 9000 + b"\r\n"] * 8)
    assert answer.startswith(b"HTTP/1.1 431 ") and b"large-header" in answer


def test_trailers_are_not_headers(tight: Running) -> None:
    start = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = raw(tight, start, f"0\r\nX-API-Key: {KEY}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")


def test_garbage_after_a_request_does_not_affect_its_answer(tight: Running) -> None:
    answer = raw(tight, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\x00\x01rubbish\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ") and b'"ok"' in answer


def test_disconnected_clients_release_their_resources(tight: Running) -> None:
    host, port = tight.host.split(":")
    body, _ = form([("a.png", IMAGE)])
    for _ in range(20):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(START + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    time.sleep(0.3)
    text = tight.ask("/metrics", x_api_key=KEY).content.decode()
    assert "frostline_waiting_images 0.0" in text and "frostline_held_bytes 0.0" in text


@pytest.mark.parametrize("path", ["/v1/model", "/metrics", "/nothing"])
@pytest.mark.parametrize("headers", [{}, {"x_api_key": KEY[:-1]}, {"authorization": f"Basic {KEY}"}])
def test_wrong_key_is_refused(tight: Running, path: str, headers: dict[str, str]) -> None:
    reply = tight.ask(path, **headers)
    assert (reply.status, reply.json()["type"]) == (401, "urn:frostline:problem:no-key")
    assert reply.headers["www-authenticate"].startswith("Bearer")


def test_right_key_is_accepted_and_page_and_health_need_none(tight: Running) -> None:
    assert tight.ask("/v1/model", authorization=f"Bearer {KEY}").status == 200
    assert tight.ask("/v1/model", x_api_key="another-long-enough-key").status == 200
    assert tight.ask("/v1/model", x_api_key=KEY, host="any.example").status == 200
    assert [tight.ask(path).status for path in ("/", "/style.css", "/healthz", "/readyz")] == [200] * 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short\n", "key 1 has 5 characters"),
        ("two words that are long\n", "key 1 has a blank"),
        ("# nothing\n", "has no key"),
        ("schlüssel-mit-umlaut\n", "plain ASCII"),
    ],
)
def test_key_files_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        read_keys(path)


def test_key_file_that_is_a_pipe_or_folder_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "none", Path("a\0b")):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_keys(path)


def test_pixel_limit_is_configurable(run: Run) -> None:
    running = Running(run.folder, {"pixels": 63})
    try:
        reply = running.predict([("a.png", IMAGE)])
        assert reply.status == 422 and "at most 63 are read" in reply.json()["errors"][0]["detail"]
    finally:
        running.close()


@pytest.mark.parametrize(
    ("option", "words"), [(["--max-pixels", "0"], "--max-pixels 0"), (["--reject", "0.7"], "--reject 0.7")]
)
def test_invalid_options(run: Run, frostline: Frostline, option: list[str], words: str) -> None:
    done = frostline("serve", run.folder, "--port", 0, *option)
    assert done.returncode == 2 and words in done.stderr


def test_sigterm_lets_requests_finish(run: Run) -> None:
    running = Running(run.folder)
    body, kind = form([("a.png", IMAGE)] * 32)
    connection = running.connection()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", kind)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(0.2)
    threading.Timer(0.5, connection.send, [body[100:]]).start()
    running.terminate()
    reply = read(connection)
    connection.close()
    running.process.join(10)
    assert reply.status == 200 and len(reply.json()["results"]) == 32
    assert running.process.exitcode == 0


def test_other_hosts_need_a_key_or_no_auth(run: Run, frostline: Frostline) -> None:
    done = frostline("serve", run.folder, "--host", "0.0.0.0", "--port", 0)
    assert done.returncode == 2 and "--api-key-file FILE, or --no-auth" in done.stderr


def test_port_that_is_taken(run: Run, server: Running, frostline: Frostline) -> None:
    done = frostline("serve", run.folder, "--port", server.host.split(":")[1])
    assert done.returncode == 2 and "Address already in use" in done.stderr


@pytest.mark.parametrize(("name", "words"), [("nope", "no run 'nope'"), ("nope.onnx", "there is no nope.onnx")])
def test_missing_models_are_named(frostline: Frostline, name: str, words: str) -> None:
    done = frostline("serve", name)
    assert done.returncode == 2 and words in done.stderr
