"""How long does a hyperparameter search take once the features are cached?

    OMP_NUM_THREADS=2 python -m bench tune [--weights bundled] [--trials 50] [--limit N] [--cache-dir DIR]

Trials of heads on Fashion-MNIST. The frozen pass runs first, or is read from the cache, and is not timed. Prints the
search's summary, its seconds, and the first and the best trial's validation accuracy. The test split is not read.

About 6 minutes on 2 cores.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.common.options import start
from bench.common.timing import Stopwatch
from frostline import TrainConfig
from frostline.studies.tune import tune
from frostline.studies.tune_results import final_accuracy, format_summary


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, weights="bundled", trials=50, limit={"type": int}, cache_dir={"type": Path})
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = TrainConfig(data="fashion-mnist", weights=options.weights, limit=options.limit)
    with tempfile.TemporaryDirectory() as folder:
        cache = options.cache_dir or Path(folder, "cache")
        tune(config, Path(folder, "warm"), trials=1, cache_dir=cache)
        with Stopwatch() as watch:
            result = tune(config, Path(folder, "search"), trials=options.trials, cache_dir=cache)
        print("\n".join(format_summary(result)))
    first, best = result.trials[0], result.best
    print(f"{len(result.trials)} trials: {watch.seconds:.1f} s, {watch.processor_seconds:.1f} s of processor time")
    print(
        f"first trial {final_accuracy(first):.4f}, best {final_accuracy(best):.4f}"
        if best
        else "no trial was trained on all images"
    )
