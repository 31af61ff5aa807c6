"""Which peak learning rates suit the heads? Validation accuracy over a grid; test is not looked at.

python bench/learning_rate.py [--weights random] [--images 12000] [--seed 0]
"""

import argparse
import tempfile
from pathlib import Path

from common import machine
from frostline import TrainConfig, fit

GRID = {
    ("adamw", "linear"): (1e-4, 2e-4, 4e-4, 6e-4, 8e-4, 1.6e-3),
    ("sgd", "linear"): (1e-3, 2e-3, 4e-3, 8e-3),
    ("adamw", "mlp"): (1e-4, 3e-4, 1e-3),
    ("sgd", "mlp"): (3e-3, 1e-2, 3e-2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for (optimizer, head), rates in GRID.items():
            for lr in rates:
                config = TrainConfig(
                    data="fashion-mnist",
                    weights=options.weights,
                    limit=options.images,
                    val_fraction=0.25,
                    optimizer=optimizer,
                    head=head,
                    lr=lr,
                    seed=options.seed,
                )
                run = fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
                val = run.metrics["val"]
                print(f"{optimizer:<6} {head:<7} lr {lr:<8g} val accuracy {val['accuracy']:.4f} loss {val['loss']:.4f}")


if __name__ == "__main__":
    main()
