"""Does label smoothing help a frozen head? Measured on validation; test is not read.

    python bench/label_smoothing.py [--weights bundled] [--images 8000] [--seeds 3]

Half of the images validate; of the other half 10 or 100 per class, or all, are trained on. Mean over the seeds.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from common import machine
from frostline import TrainConfig, fit

SMOOTHINGS = (0.0, 0.1, 0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--images", type=int, default=8_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{'head reads':<12} {'labels':<13} smoothing  val accuracy  calibration error")
    with tempfile.TemporaryDirectory() as folder:
        for taps in ("auto", "none"):
            for labels in (10, 100, None):
                for smoothing in SMOOTHINGS:
                    found, errors = [], []
                    for seed in range(options.seeds):
                        config = TrainConfig(
                            data="fashion-mnist",
                            weights=options.weights,
                            limit=options.images,
                            val_fraction=0.5,
                            taps=taps,
                            labels_per_class=labels,
                            label_smoothing=smoothing,
                            seed=seed,
                        )
                        run = fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
                        found.append(run.metrics["val"]["accuracy"])
                        errors.append(run.metrics["val"]["ece"])
                    print(
                        f"{'pooled taps' if taps == 'auto' else 'conv5':<12} "
                        f"{f'{labels} per class' if labels else 'all':<13} {smoothing:<9} "
                        f" {statistics.mean(found):.4f}        {statistics.mean(errors):.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
