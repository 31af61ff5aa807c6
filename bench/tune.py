"""How long does a search take after the frozen pass? 50 trials of heads on Fashion-MNIST; test is not looked at.

OMP_NUM_THREADS=2 python bench/tune.py [--weights bundled] [--trials 50] [--cache-dir DIR]

The frozen pass is run first, or read from the cache, and not counted.
"""

import argparse
import logging
import tempfile
import time
from pathlib import Path

from common import machine
from frostline.config import TrainConfig
from frostline.experiments.mattered import final, told
from frostline.experiments.tune import tune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--cache-dir", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    print(machine())
    config = TrainConfig(data="fashion-mnist", weights=options.weights)
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache_dir or Path(folder, "cache")
        tune(config, Path(folder, "warm"), trials=1, cache_dir=cache)
        begun, processor = time.perf_counter(), time.process_time()
        findings = tune(config, Path(folder, "search"), trials=options.trials, cache_dir=cache)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        print("\n".join(told(findings)))
    first, best = findings.tried[0], findings.best
    print(f"{len(findings.tried)} trials: {seconds:.1f} s, {processor:.1f} s of processor time")
    print(f"first trial {final(first):.4f}, best {final(best):.4f}" if best else "no trial got to all pictures")


if __name__ == "__main__":
    main()
