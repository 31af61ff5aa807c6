"""What every test gets: its own cache, no network, real Fashion-MNIST, and a real command line."""

import gzip
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data import fashion_mnist
from frostline.data.dataset import Splits
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.commands import Within, run_forked
from tests.quick import quick_runs, whole_runs
from tests.small_run import small_config
from tests.torchvision_operators import sitecustomize

COMMAND = Path(sys.executable).with_name("frostline")
LONGEST = ("test_docs.py", "test_kill.py", "test_lesson.py", "test_device_check.py", "test_distribution.py")
Frostline = Callable[..., subprocess.CompletedProcess[str]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that no worker ends with one while the other waits.

    Mark the tests that use the fixture ``device``.
    """
    for item in items:
        if "device" in getattr(item, "fixturenames", ()):
            item.add_marker("device")
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def quickly() -> Iterator[None]:
    """Runs in this process leave out what takes long."""
    with quick_runs():
        yield


@pytest.fixture(autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test has its own cache and asks no address."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FROSTLINE_CACHE_DIR", str(cache))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    monkeypatch.setenv("FROSTLINE_OFFLINE", "1")
    monkeypatch.delenv("FROSTLINE_MIRROR", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
    # Commands that a test starts can import torchvision as the test itself can.
    monkeypatch.setenv("PYTHONPATH", str(Path(sitecustomize.__file__).parent), prepend=os.pathsep)
    return cache


@pytest.fixture
def cache(own_environment: Path) -> Path:
    """The test's own cache folder."""
    return own_environment


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device named by ``FROSTLINE_TEST_DEVICE``, the CPU by default; tools/device_check.py names another."""
    device = torch.device(os.environ.get("FROSTLINE_TEST_DEVICE", "cpu"))
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared to rounding, which TF32 is too coarse for
    return device


@pytest.fixture(scope="session")
def fashion() -> Splits:
    """The real Fashion-MNIST."""
    return fashion_mnist.load()


@pytest.fixture(scope="session")
def small_fashion(tmp_path_factory: pytest.TempPathFactory, fashion: Splits) -> Path:
    """A folder with the first 1,200 + 300 images of Fashion-MNIST, as plain IDX files; copy it to damage it."""
    folder = tmp_path_factory.mktemp("small-fashion")
    for prefix, part, count in (("train", fashion.train, 1200), ("t10k", fashion.test, 300)):
        write_idx(folder / f"{prefix}-images-idx3-ubyte", np.asarray(part.images[:count]))
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", part.labels[:count].astype(np.uint8))
    return folder


def idx_bytes(array: np.ndarray) -> bytes:
    """Return an array of bytes in IDX format."""
    header = bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file; gzip when the name ends so."""
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture(scope="session")
def finished(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run named ``first``, with all that belongs to it; tests that change it copy it."""
    place = tmp_path_factory.mktemp("finished")
    config = small_config(small_fashion, epochs=6)
    with whole_runs():
        return fit(config, name="first", output_dir=place / "runs", cache_dir=place / "cache")


@pytest.fixture
def run_cache(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the cache as the finished run filled it: 290 images on conv5. No other test writes to it."""
    cache = tmp_path_factory.mktemp("run") / "cache"
    shutil.copytree(finished.folder.parents[1] / "cache", cache)
    return cache


@pytest.fixture
def frostline(tmp_path: Path) -> Frostline:
    """Run a command in ``tmp_path``, quickly, and return what came back."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = 300, within: Within = nullcontext
    ) -> subprocess.CompletedProcess[str]:
        quick = partial(_quick, within)
        return run_forked(arguments, tmp_path, {**os.environ, **(env or {})}, timeout, within=quick)

    return run


@contextmanager
def _quick(within: Within) -> Iterator[None]:
    with quick_runs(), within():
        yield


@pytest.fixture
def installed(tmp_path: Path) -> Frostline:
    """Run the installed console script in ``tmp_path`` and return what came back."""

    def run(
        *arguments: object, env: dict[str, str] | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


class Server:
    """A real HTTP server on 127.0.0.1 that hands out a folder and counts what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def __init__(self, *args: object, **kwargs: object) -> None:
                super().__init__(*args, directory=str(folder), **kwargs)  # type: ignore[arg-type]

            def do_GET(self) -> None:
                outer.asked.append(self.path)
                super().do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that Frostline downloads from, instead of the official addresses."""
    running = Server(tmp_path_factory.mktemp("served"))
    monkeypatch.setenv("FROSTLINE_MIRROR", running.address)
    monkeypatch.delenv("FROSTLINE_OFFLINE")
    yield running
    running.close()
