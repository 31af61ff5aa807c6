"""How long should a head train on few labels, and is the closed form better? Measured on validation; test is not read.

    python bench/few_labels.py [--weights bundled] [--images 4000] [--seeds 3]

Half of the images validate; of the other half 10 or 100 per class are trained on. Mean over the seeds.
"""

import argparse
import statistics
import tempfile

from common import machine, metrics_of_seeds

EPOCHS = (12, 25, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="bundled")
    parser.add_argument("--images", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{'labels':>14} {'head':<8} epochs  val accuracy")
    with tempfile.TemporaryDirectory() as folder:
        for labels in (10, 100):
            for head, epochs in [*(("linear", count) for count in EPOCHS), ("ridge", None)]:
                found = metrics_of_seeds(
                    options.seeds,
                    folder,
                    weights=options.weights,
                    limit=options.images,
                    labels_per_class=labels,
                    head=head,
                    epochs=epochs,
                    patience=epochs,
                )
                accuracy = statistics.mean(run["val"]["accuracy"] for run in found)
                print(f"{labels:>4} per class {head:<8} {epochs or '-':>6}  {accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
