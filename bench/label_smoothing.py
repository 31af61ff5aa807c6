"""Does label smoothing help a frozen head? Measured on validation; test is not read.

    python bench/label_smoothing.py [--weights bundled] [--images 8000] [--seeds 3]

Half of the images validate; of the other half 10 or 100 per class, or all, are trained on. Mean over the seeds.
"""

import argparse
import statistics
import tempfile

from common import machine, metrics_of_seeds

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
                    found = metrics_of_seeds(
                        options.seeds,
                        folder,
                        weights=options.weights,
                        head="linear",
                        limit=options.images,
                        taps=taps,
                        labels_per_class=labels,
                        label_smoothing=smoothing,
                    )
                    accuracy = statistics.mean(run["val"]["accuracy"] for run in found)
                    error = statistics.mean(run["val"]["ece"] for run in found)
                    print(
                        f"{'pooled taps' if taps == 'auto' else 'conv5':<12} "
                        f"{f'{labels} per class' if labels else 'all':<13} {smoothing:<9} "
                        f" {accuracy:.4f}        {error:.3f}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
