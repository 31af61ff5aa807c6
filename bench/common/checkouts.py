"""Commands of two checkouts that run in turns of a few seconds.

A processor that others use is faster in one minute than in the next, so that two runs one after the other differ by
more than what is looked for. In turns, both have the same share of the better minutes.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).parents[2]


def begin(checkout: Path, folder: Path, name: str, words: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a training of a checkout, with the arguments ``words``, in its own process group, and stop it at once."""
    entry = "frostline.__main__" if (checkout / "src/frostline/__main__.py").exists() else "frostline.cli.main"
    program = f"import sys; from {entry} import main; sys.exit(main())"
    environment = os.environ | {"FROSTLINE_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(checkout / "src")}
    command = [sys.executable, "-c", program, "train", *words, "--name", name, "--quiet"]
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True)
    os.killpg(process.pid, signal.SIGSTOP)
    return process


def take_turns(processes: Mapping[str, "subprocess.Popen[bytes]"], slice_seconds: float) -> dict[str, float]:
    """Let one process run at a time until all have ended; return the seconds that each of them ran."""
    seconds = dict.fromkeys(processes, 0.0)
    running = dict(processes)
    while running:
        for name, process in list(running.items()):
            began = time.perf_counter()
            os.killpg(process.pid, signal.SIGCONT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(slice_seconds)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGSTOP)
            else:
                del running[name]
            seconds[name] += time.perf_counter() - began
    for name, process in processes.items():
        assert process.returncode == 0, f"{name}: exit code {process.returncode}"
    return seconds


def repeats(before: Path, count: int) -> Iterator[tuple[dict[str, Path], Path]]:
    """Yield the checkouts by name, first the one and then the other, and a new folder with a folder for each."""
    checkouts = {"before": before.resolve(), "now": HERE}
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            for label in checkouts:
                (Path(folder) / label).mkdir()
            yield checkouts if number % 2 else dict(reversed(checkouts.items())), Path(folder)


def run_in_turns(
    checkouts: Mapping[str, Path], place: Path, name: str, words: Sequence[str], slice_seconds: float
) -> dict[str, float]:
    """Train with the same arguments in all checkouts, in folders of their names; return the seconds of each."""
    processes = {label: begin(checkout, place / label, name, words) for label, checkout in checkouts.items()}
    try:
        return take_turns(processes, slice_seconds)
    finally:
        for process in processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
