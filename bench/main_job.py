"""Does the main job stay within its limits of time and memory: `frostline train fashion-mnist`, all 70,000 images?

    python -m bench main_job [--weights random] [--warm-repeats 3] [--limit N]

Runs the command as a user does. From an empty cache: at most 1.3 times what the network's multiply-accumulates take at
the machine's own float32 matrix-product rate, plus 45 s for everything else. Again with another learning rate: at most
45 s on the pooled taps of all stages, at most 15 s on conv5 alone. Peak memory: at most
3 GiB. Prints each, with the frozen pass's images/s and the test accuracy, and asserts all limits. --limit is for
trials.

About 7 minutes on 2 cores.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common.machine import GIB, convolution_macs, matrix_product_rate
from bench.common.options import start
from bench.common.timing import Stopwatch


def train(folder: Path, name: str, *options: str) -> tuple[float, dict[str, Any]]:
    """Return the wall time of the whole command, start of Python included, and the run's metrics."""
    command = Path(sys.executable).with_name("frostline")
    environment = os.environ | {"FROSTLINE_CACHE_DIR": str(folder / "cache")}
    words = [command, "train", "fashion-mnist", "--name", name, "--quiet", *options]
    with Stopwatch() as watch:
        subprocess.run(words, cwd=folder, env=environment, check=True)
    return watch.seconds, json.loads((folder / "runs" / name / "metrics.json").read_text())


def report(what: str, seconds: float, bound: float, metrics: dict[str, Any]) -> None:
    done = metrics["frozen_pass"]
    print(
        f"{what:<34} {seconds:7.1f} s (bound {bound:5.1f} s)  frozen pass {done['seconds']:6.1f} s, "
        f"{done['images'] - done['from_cache']:,} computed, {done['images_per_second']:,.0f} images/s  "
        f"head {metrics['training']['seconds']:.1f} s  test accuracy {metrics['test']['accuracy']:.4f}  "
        f"peak {metrics['peak_memory_bytes'] / GIB:.2f} GiB",
        flush=True,
    )
    assert seconds <= bound, f"{what}: over its bound"
    assert metrics["peak_memory_bytes"] <= 3 * GIB, f"{what}: over 3 GiB"


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, weights="random", warm_repeats=3, limit={"type": int})
    common = ("--weights", options.weights, *(("--limit", str(options.limit)) if options.limit else ()))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for label, taps, warm_bound in (("pooled taps", "auto", 45.0), ("conv5 alone", "none", 15.0)):
            before = matrix_product_rate()
            cold, metrics = train(folder, f"{taps}-cold", *common, "--taps", taps)
            rate = statistics.mean([before, matrix_product_rate()])
            images = metrics["frozen_pass"]["images"]
            ideal = images * sum(convolution_macs(metrics["model"]["image_size"])) / rate
            print(f"{label}: matrix product {rate / 1e9:.1f} GMAC/s, so the multiply-accumulates take {ideal:.1f} s")
            report(f"{label}, empty cache", cold, 1.3 * ideal + 45, metrics)
            assert metrics["frozen_pass"]["from_cache"] == 0
            warm = []
            for repeat in range(options.warm_repeats):
                name = f"{taps}-warm-{repeat}"
                warm.append(train(folder, name, *common, "--taps", taps, "--lr", f"{3e-4 - repeat * 2e-5:g}"))
            seconds, metrics = sorted(warm, key=lambda result: result[0])[len(warm) // 2]
            report(f"{label}, warm, median of {len(warm)}", seconds, warm_bound, metrics)
            assert metrics["frozen_pass"]["from_cache"] == images
            log = (folder / "runs" / f"{taps}-warm-0" / "log.txt").read_text()
            assert "features found in the cache" in log
