"""Is the main job slower than in another checkout: `frostline train fashion-mnist` of both, a few seconds each in turn?

    python -m bench regression --before CHECKOUT [--repeats 3] [--limit N] [--slice-seconds 3]

A processor that others use is faster in one minute than in the next, so that two runs one after the other differ by
more than what is looked for. Here both commands are begun together, and only one runs at a time: each goes on for a few
seconds while the other is stopped, and its time is the sum of its own turns. From empty caches first, then with another
learning rate on the features that both have kept. Prints each ratio of the times, this checkout's to the other's, and
their medians; asserts that both have the same test and validation metrics. Both use this environment's packages.

About 10 minutes a repeat on 2 cores.
"""

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.options import start

HERE = Path(__file__).parents[1]


def begin(checkout: Path, folder: Path, name: str, options: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start the training command of a checkout, in a process group of its own and stopped at once."""
    entry = "frostline.__main__" if (checkout / "src/frostline/__main__.py").exists() else "frostline.cli.main"
    program = f"import sys; from {entry} import main; sys.exit(main())"
    environment = os.environ | {"FROSTLINE_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(checkout / "src")}
    words = [sys.executable, "-c", program, "train", "fashion-mnist", "--name", name, "--quiet", *options]
    process = subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True)
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


def compare(checkouts: Mapping[str, Path], place: Path, name: str, options: Sequence[str], slices: float) -> float:
    """Run the job of both checkouts in turn; return the ratio of their times after comparing their metrics."""
    processes = {label: begin(checkout, place / label, name, options) for label, checkout in checkouts.items()}
    try:
        seconds = take_turns(processes, slices)
    finally:
        for process in processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    found: dict[str, Any] = {
        label: json.loads((place / label / "runs" / name / "metrics.json").read_text()) for label in checkouts
    }
    passes = {label: metrics["frozen_pass"]["from_cache"] for label, metrics in found.items()}
    assert len(set(passes.values())) == 1, f"one has found more features in its cache: {passes}"
    for split in ("test", "val"):
        for key in ("accuracy", "loss", "ece", "f1_macro", "confusion"):
            values = [metrics[split][key] for metrics in found.values()]
            assert values[0] == values[1], f"{split} {key}: {values}"
    ratio = seconds["now"] / seconds["before"]
    print(
        f"{name:<8} before {seconds['before']:6.1f} s  now {seconds['now']:6.1f} s  ratio {ratio:.3f}  "
        f"test accuracy {found['now']['test']['accuracy']:.4f}",
        flush=True,
    )
    return ratio


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        before={"type": Path, "required": True, "metavar": "CHECKOUT"},
        repeats=3,
        limit={"type": int},
        slice_seconds=3.0,
    )
    common = ("--weights", "bundled", *(("--limit", str(options.limit)) if options.limit else ()))
    checkouts = {"before": options.before.resolve(), "now": HERE}
    ratios: dict[str, list[float]] = {"cold": [], "warm": []}
    for repeat in range(options.repeats):
        with tempfile.TemporaryDirectory() as folder:
            for label in checkouts:
                (Path(folder) / label).mkdir()
            for kind, rate in (("cold", "3e-4"), ("warm", "2.8e-4")):
                order = checkouts if repeat % 2 else dict(reversed(checkouts.items()))
                words = (*common, "--lr", rate)
                ratios[kind].append(compare(order, Path(folder), kind, words, options.slice_seconds))
    for kind, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}, n = {len(values)}"
        print(f"{kind}: ratio {statistics.median(values):.3f} ({spread})")
