"""Hostile requests among good ones; `bench/attack.py` is the full-size version."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from frostline.runs.folder import Run
from tests.hostile_files import (
    bmp_of_runs,
    chunk,
    cut,
    frames,
    gif_of_comments,
    jpeg_of_comments,
    jpeg_of_empty_scans,
    png,
    tiff_of_floats,
    zeros_deflated,
)
from tests.serve.running import Running, as_json

Files = list[tuple[str, bytes]]
GIB = 1 << 30
SIDE = 5000


@pytest.fixture(scope="module")
def costly() -> dict[str, bytes]:
    """Small files that are costly to decode."""
    return {
        "scans.jpg": jpeg_of_empty_scans(2500, 500),
        "allowed scans.jpg": jpeg_of_empty_scans(50, 2000),
        "comments.jpg": jpeg_of_comments(20_000),
        "comments.gif": gif_of_comments(20_000),
        "floats.tif": tiff_of_floats(SIDE),
        "zeros.png": png(SIDE, SIDE, zeros_deflated((4 * SIDE + 1) * SIDE), color=6, deflated=True),
        "runs.bmp": bmp_of_runs(2000),
        "chunks.png": png(40, 40, bytes(41 * 40), *[chunk(b"tEXt", b"a\0b")] * 9000),
        "frames.gif": frames("GIF", 50),
    }


@pytest.fixture
def fresh(run: Run) -> Iterator[Running]:
    running = Running(run.folder)
    yield running
    running.close()


def test_good_requests_are_answered_among_hostile_ones(
    fresh: Running, garments: Files, costly: dict[str, bytes]
) -> None:
    expected = fresh.predict(garments, "?top=3").json()["results"]
    idle = fresh.memory()
    attacks = [[one] for one in costly.items()]
    attacks += [
        list(costly.items()),
        [("x.tif", costly["floats.tif"])] * 32,
        [("x.png", one) for one in cut(30).values()],
    ]
    memory, times = [idle], []

    def good(number: int) -> None:
        begun = time.monotonic()
        reply = fresh.predict([garments[number % 20]], "?top=3")
        times.append(time.monotonic() - begun)
        assert reply.status == 200
        (answer,), right = reply.json()["results"], expected[number % 20]
        assert [one["class"] for one in answer["predictions"]] == [one["class"] for one in right["predictions"]]
        figures = [[one["probability"] for one in which["predictions"]] for which in (answer, right)]
        np.testing.assert_allclose(*figures, atol=1e-5)

    def ask(number: int) -> None:
        if number % 10:
            good(number)
        else:
            assert fresh.predict(attacks[number // 10 % len(attacks)]).status in (200, 422, 503)
        memory.append(fresh.memory())

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(200)))
    assert max(times) < 10  # the limit for a costly image; far less on an idle machine
    assert max(memory) - idle < GIB
    text = fresh.ask("/metrics").content.decode()
    assert "frostline_waiting_images 0.0" in text and "frostline_held_bytes 0.0" in text


def test_waiting_costly_image_does_not_affect_the_others(run: Run, garments: Files, costly: dict[str, bytes]) -> None:
    running = Running(run.folder, {"costly_seconds": 0.0})
    try:
        reply = running.predict([garments[0], ("x.tif", costly["floats.tif"]), garments[1]])
        first, refused, last = reply.json()["results"]
        assert first["predictions"] and last["predictions"]
        assert (refused["name"], refused["error"]["status"]) == ("x.tif", 503)
        assert refused["error"]["type"] == "urn:frostline:problem:busy"
        alone = running.predict([("x.tif", costly["floats.tif"])])
        assert (alone.status, alone.headers["retry-after"]) == (503, "1")
    finally:
        running.close()


def test_images_with_too_many_scans_are_refused(server: Running, costly: dict[str, bytes]) -> None:
    reply = server.ask("/v1/predict", as_json([costly["scans.jpg"]] * 32), content_type="application/json")
    assert reply.status == 422 and all("more than 64 scans" in one["detail"] for one in reply.json()["errors"])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_decoding_processes_end_with_the_server(fresh: Running, costly: dict[str, bytes], how: signal.Signals) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(fresh.predict, [("x.tif", costly["floats.tif"])] * 4)
        number, *others = fresh.processes()
        assert len(others) >= 3
        os.kill(number, how)
        deadline = time.monotonic() + (5 if how == signal.SIGKILL else 40)
        while any(lives(other) for other in others):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        asking.exception()


def lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
