"""Which image size is best for its time on 28x28 images? Measured on the validation split; test is not looked at.

    python bench/image_size.py [--weights random] [--images 4000] [--seeds 3]

For each size: the time of the frozen pass and the validation accuracy of the default linear head, once on the pooled
taps of all stages (the default) and once on conv5 alone: mean and standard deviation over seeds. Each seed draws
another split and, for random weights, other weights.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from common import convolution_macs, machine
from frostline import TrainConfig, fit

SIZES = (64, 96, 128, 160, 224)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(
        f"{options.weights} weights, half of {options.images} images trained on, half validating, {options.seeds} seeds"
    )
    print("image px   M multiply-accumulates   pass images/s   val accuracy: all taps      conv5 alone")
    for size in SIZES:
        found: dict[str, list[float]] = {"auto": [], "none": []}
        rates = []
        for seed in range(options.seeds):
            for taps, accuracies in found.items():
                with tempfile.TemporaryDirectory() as folder:
                    config = TrainConfig(
                        data="fashion-mnist",
                        weights=options.weights,
                        head="linear",
                        image_size=size,
                        taps=taps if taps == "auto" else (),
                        limit=options.images,
                        seed=seed,
                        val_fraction=0.5,
                    )
                    run = fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
                    accuracies.append(run.metrics["val"]["accuracy"])
                    rates.append(run.metrics["frozen_pass"]["images_per_second"])
        columns = [f"{statistics.mean(a):.4f} ± {statistics.stdev(a) if len(a) > 1 else 0:.4f}" for a in found.values()]
        macs = convolution_macs(size) / 1e6
        print(
            f"{size:>8}   {macs:>22.1f}   {statistics.median(rates):>13,.0f}   {columns[0]:>24}  {columns[1]:>15}",
            flush=True,
        )


if __name__ == "__main__":
    main()
