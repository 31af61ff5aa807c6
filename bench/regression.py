"""Is the main job slower than in another checkout: `frostline train fashion-mnist` of both, a few seconds each in turn?

    python -m bench regression --before CHECKOUT [--repeats 3] [--limit N] [--slice-seconds 3]

Both commands are begun together, and only one runs at a time: each goes on for a few seconds while the other is
stopped, and its time is the sum of its own turns. From empty caches first, then with another learning rate on the
features that both have kept. Prints each ratio of the times, this checkout's to the other's, and their medians; asserts
that both have the same test and validation metrics. Both use this environment's packages.

About 10 minutes a repeat on 2 cores.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.checkouts import repeats, run_in_turns
from bench.common.options import start


def compare(checkouts: Mapping[str, Path], place: Path, name: str, options: Sequence[str], slices: float) -> float:
    """Run the job of both checkouts in turn; return the ratio of their times after comparing their metrics."""
    seconds = run_in_turns(checkouts, place, name, ("fashion-mnist", *options), slices)
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
    ratios: dict[str, list[float]] = {"cold": [], "warm": []}
    for checkouts, folder in repeats(options.before, options.repeats):
        for kind, rate in (("cold", "3e-4"), ("warm", "2.8e-4")):
            words = (*common, "--lr", rate)
            ratios[kind].append(compare(checkouts, folder, kind, words, options.slice_seconds))
    for kind, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}, n = {len(values)}"
        print(f"{kind}: ratio {statistics.median(values):.3f} ({spread})")
