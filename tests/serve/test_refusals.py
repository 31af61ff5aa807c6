"""Refused requests: RFC 9457 problems without internals, and never a 500."""

import base64
import json
import struct
import time
import zlib

import numpy as np
import pytest

from tests.serve.running import Running, as_json, form, png, read

Files = list[tuple[str, bytes]]
IMAGE = png(np.zeros((8, 8), np.uint8))
NOISE = png(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8))


def vast_png() -> bytes:
    """A PNG that claims 50,000 x 50,000 pixels."""
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    packed = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("cut.png", NOISE[:2000], "cut.png is damaged"),
        ("vast.png", vast_png(), "too many pixels"),
        ("notes.txt", b"just words", "notes.txt is not a readable image: expected one of PNG, JPEG"),
        ("empty.png", b"", "empty.png is not a readable image"),
        ("pixels.ppm", b"P6 1 1 255\nabc", "pixels.ppm is not a readable image"),
    ],
    ids=["cut", "vast", "words", "empty", "ppm"],
)
def test_bad_image_is_named_and_the_good_ones_are_answered(server: Running, name: str, data: bytes, words: str) -> None:
    reply = server.predict([("good.png", IMAGE), (name, data), ("also good.png", IMAGE)])
    first, bad, last = reply.json()["results"]
    assert reply.status == 200 and first["predictions"] == last["predictions"]
    assert bad["name"] == name and set(bad) == {"name", "error"}
    assert (bad["error"]["type"], bad["error"]["status"]) == ("urn:frostline:problem:bad-image", 422)
    assert words in bad["error"]["detail"]


def test_request_without_any_good_image_is_refused_as_a_whole(server: Running) -> None:
    reply = server.predict([("cut.png", NOISE[:2000]), ("notes.txt", b"just words")])
    assert reply.status == 422 and reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert (problem["type"], problem["status"]) == ("urn:frostline:problem:bad-image", 422)
    assert [(one["image"], one["name"]) for one in problem["errors"]] == [(0, "cut.png"), (1, "notes.txt")]
    assert "cut.png is damaged" in problem["errors"][0]["detail"]


def test_invalid_base64_does_not_affect_the_others(server: Running) -> None:
    texts = [base64.b64encode(IMAGE).decode(), "%%%", "data:text/html;base64,AAAA", "data:image/png,AAAA"]
    results = server.ask("/v1/predict", json.dumps({"images": texts}).encode(), content_type="application/json").json()
    good, *bad = results["results"]
    assert good["predictions"] and [one["name"] for one in bad] == ["image 2", "image 3", "image 4"]
    details = [one["error"]["detail"] for one in bad]
    assert "image 2 is not valid base64" in details[0] and all(
        "is not a data: URI of an image" in one for one in details[1:]
    )


def test_json_of_very_many_values_is_refused_before_it_is_parsed(server: Running) -> None:
    begun = time.monotonic()
    for body in (b'{"images": [' + b"1," * 4_000_000 + b"1]}", b'{"images": [' + b"[]," * 4_000_000 + b"1]}"):
        reply = server.ask("/v1/predict", body, content_type="application/json")
        assert reply.status == 422 and len(reply.content) < 1000
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    ("body", "kind", "status", "problem"),
    [
        (form([("a", IMAGE)] * 33)[0], form([])[1], 422, "image-count"),
        (form([])[0], form([])[1], 422, "image-count"),
        (form([("a", IMAGE)], "photo")[0], form([])[1], 422, "invalid"),
        (form([("a", IMAGE)])[0][:-20], form([])[1], 400, "damaged-body"),
        (b"x", "multipart/form-data", 400, "damaged-body"),
        (b"x", "multipart/form-data; boundary=edge", 400, "damaged-body"),
        (b"no image", "image/png", 422, "bad-image"),
        (b"", "application/octet-stream", 422, "bad-image"),
        (IMAGE, "application/x-www-form-urlencoded", 415, "unknown-body"),
        (IMAGE, "", 415, "unknown-body"),
        (as_json([IMAGE] * 33), "application/json", 422, "image-count"),
        (as_json([]), "application/json", 422, "image-count"),
        (b'{"images": ["%%%"]}', "application/json", 422, "bad-image"),
        (b'{"images": ["AA\xc3\xa9="]}', "application/json", 422, "bad-image"),
        (b'{"images": "AAAA"}', "application/json", 422, "invalid"),
        (b'{"images": [', "application/json", 422, "invalid"),
        (b'{"images": [], "path": "/etc/passwd"}', "application/json", 422, "invalid"),
        (b"[" * 4_000, "application/json", 422, "invalid"),
        (b"[" * 100_000, "application/json", 422, "image-count"),
    ],
)
def test_invalid_bodies(server: Running, body: bytes, kind: str, status: int, problem: str) -> None:
    reply = server.ask("/v1/predict", body, content_type=kind)
    assert (reply.status, reply.json()["type"]) == (status, f"urn:frostline:problem:{problem}")


@pytest.mark.parametrize(
    "query", ["?top=0", "?top=x", "?explain=perhaps", "?neighbors=13", "?reject=0.6", "?reject=nan"]
)
def test_options_out_of_range(server: Running, query: str) -> None:
    reply = server.predict([("a.png", IMAGE)], query)
    assert reply.status == 422 and reply.json()["errors"][0]["where"].startswith("query.")


def test_unknown_path_and_method(server: Running) -> None:
    assert server.ask("/../../etc/passwd").status == 404
    reply = server.ask("/v1/predict")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert reply.json()["type"] == "urn:frostline:problem:method-not-allowed"


def test_other_host_names_are_refused_on_loopback(server: Running) -> None:
    assert server.ask("/v1/model", host="evil.example").status == 421
    assert server.ask("/v1/model", host="localhost:8000").status == 200


def test_body_declared_too_large_is_refused_unread(server: Running) -> None:
    connection = server.connection()
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Length", str(1 << 30))
    connection.endheaders(b"x" * 1000)
    reply = read(connection)
    connection.close()
    assert (reply.status, reply.json()["type"]) == (413, "urn:frostline:problem:too-large")
    assert "32 MiB" in reply.json()["detail"] and reply.headers["connection"] == "close"


def test_non_http_data_is_answered_and_closed(server: Running) -> None:
    connection = server.connection()
    connection.connect()
    connection.sock.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    answer = connection.sock.recv(4096)
    connection.close()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"application/problem+json" in answer


def test_every_answer_carries_the_security_headers(server: Running) -> None:
    for path in ("/", "/app.js", "/v1/model", "/nothing"):
        headers = server.ask(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers and "access-control-allow-origin" not in headers


def test_health_and_metrics(server: Running) -> None:
    assert server.ask("/healthz").json() == {"status": "ok"}
    assert server.ask("/readyz").json() == {"status": "ready"}
    server.predict([("a.png", IMAGE)])
    text = server.ask("/metrics").content.decode()
    assert 'frostline_requests_total{method="POST",path="/v1/predict",status="200"}' in text
    assert "frostline_request_seconds_bucket" in text and "frostline_waiting_images 0.0" in text
    assert "frostline_held_bytes 0.0" in text
