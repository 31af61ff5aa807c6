"""What does a server of an exported file need without torch: disk, time to start, memory?

    python -m bench runtime [--starts 5] [--requests 512] [--image-size 128] [--limit 2000]

Installs `frostline-runtime` in a fresh environment, trains and exports a small model, and starts `frostline serve` on
the exported file: as pip installed it, after `scripts/trim-runtime`, and in this environment, there also on the run
itself. Prints for each the size of what was installed beside Python, the time to the line with the address (least and
median of `--starts`) with the processor time of all processes, and the memory after `--requests` requests of 32
clients: resident memory of the server's process, and of all processes with shared pages counted once. Asserts that
every answer is the model's, and that the trimmed environment has at most 150 MB.

About 5 minutes on 2 cores. Needs a network or a mirror for pip.
"""

import asyncio
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.common.options import start
from bench.common.serving import Client, Served, Server, drive, trained_model
from bench.common.tables import Table
from bench.common.timing import Stopwatch
from frostline import export
from frostline.runs.folder import Run

ROOT = Path(__file__).parents[1]
MEGABYTE = 1_000_000
MAX_MEGABYTES = 150
PYTHON_OWN = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")  # of a new environment


@dataclass
class Way:
    """One way to serve a model, and what its starts took."""

    python: Sequence[str]
    model: Path
    megabytes: str = "–"
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)


def install(folder: Path) -> Path:
    """Install frostline-runtime in a fresh environment; return its Python."""
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
    subprocess.run([*pip, ROOT / "runtime"], check=True)
    return folder / "bin" / "python"


def installed_megabytes(python: Path) -> float:
    """Return the size of the packages in an environment, bytecode included, in MB."""
    find = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    folder = Path(subprocess.run(find, check=True, capture_output=True, text=True).stdout.strip())
    found = [path for path in folder.iterdir() if not path.name.startswith(PYTHON_OWN)]
    files = [file for path in found for file in (path, *path.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files) / MEGABYTE


async def ask(server: Server, model: Served, count: int) -> None:
    """Send requests of one image each and check the answers."""
    requests = model.requests()

    async def job(client: Client, number: int) -> None:
        model.check(number, *await client.send(requests[number % len(requests)]))

    await drive(server.port, [lambda client, n=n: job(client, n) for n in range(count)])


def measure(way: Way, model: Served, count: int) -> None:
    """Start a server, use it and stop it."""
    with Stopwatch() as watch:
        server = Server(way.model, model.keys, python=way.python)
    way.seconds.append(watch.seconds)
    way.processor.append(server.seconds())
    asyncio.run(ask(server, model, count))
    way.server.append(server.own_memory())
    way.together.append(server.shared_memory())
    assert server.stop() == 0, "the server did not stop properly"


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, starts=5, requests=512, image_size=128, limit=2_000)
    with trained_model(options.limit, options.image_size) as model, tempfile.TemporaryDirectory() as folder:
        exported = export(Run(model.run), Path(folder, "model.onnx")).path
        python = install(Path(folder, "runtime"))
        ways = {"frostline-runtime": Way([str(python), "-I"], exported, f"{installed_megabytes(python):.0f}")}
        ways["frostline, FILE.onnx"] = Way([sys.executable], exported)
        ways["frostline, RUN"] = Way([sys.executable], model.run)
        for _ in range(options.starts):
            for way in ways.values():
                measure(way, model, options.requests)
        subprocess.run([ROOT / "scripts" / "trim-runtime", python.parents[1]], check=True)
        megabytes = installed_megabytes(python)
        ways["frostline-runtime, trimmed"] = trimmed = Way([str(python), "-I"], exported, f"{megabytes:.0f}")
        for _ in range(options.starts):
            measure(trimmed, model, options.requests)
    table = Table(
        "server:<27",
        "installed MB:>5",
        "ready s, least:>5",
        "median:>5",
        "processor s:>5",
        "server MiB:>5",
        "all MiB:>5",
    )
    for name, way in ways.items():
        times = (f"{min(way.seconds):.2f}", f"{statistics.median(way.seconds):.2f}", f"{min(way.processor):.2f}")
        table.row(name, way.megabytes, *times, f"{max(way.server):.0f}", f"{max(way.together):.0f}")
    assert megabytes <= MAX_MEGABYTES, "the trimmed environment is too large"
