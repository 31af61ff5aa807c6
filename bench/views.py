"""What do views bring, and what do they cost? Measured on validation; test is not read.

    python bench/views.py [--weights bundled] [--images 4000] [--seeds 3] [--augment default]

Half of the images validate; of the other half 10 or 100 per class, or all, are trained on. Mean over the seeds; the
seconds are those of the frozen pass over all views and pictures.
"""

import argparse
import statistics
import tempfile

from common import machine, metrics_of_seeds

VIEWS = (1, 2, 4, 12)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--augment", default="default")
    options = parser.parse_args()
    print(machine())
    print(f"{'labels':>14} views  val accuracy  frozen pass s")
    with tempfile.TemporaryDirectory() as folder:
        for labels in (10, 100, None):
            for views in VIEWS:
                found = metrics_of_seeds(
                    options.seeds,
                    folder,
                    weights=options.weights,
                    head="linear",
                    limit=options.images,
                    labels_per_class=labels,
                    views=views,
                    augment="default" if views == 1 else options.augment,
                )
                accuracies = [run["val"]["accuracy"] for run in found]
                seconds = statistics.mean(run["frozen_pass"]["seconds"] for run in found)
                name = f"{labels} per class" if labels else "all"
                print(
                    f"{name:>14} {views:>5}  {statistics.mean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}"
                    f"  {seconds:>8.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
