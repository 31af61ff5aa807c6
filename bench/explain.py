"""Do the maps find what an answer rests on? Blur the fifth of a picture that a map names, and see what the class loses.

    python bench/explain.py [--images 1200] [--shown 200] [--seeds 3]

For each data set, stage and method, over validation pictures: by how much the probability of the class that was
answered falls, mean of the seeds and their standard deviation; `random` names places by chance. `blank`: the share of
maps in which nothing speaks for the class. Larger falls are better.
"""

import argparse
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from frostline.runs.choose import split
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from common import machine
from frostline import TrainConfig, fit, load_dataset
from frostline.report.explain import METHODS, Explainer, enlarge

HIDDEN = 0.2
RADIUS = 15  # of the box that blurs, at 128 px
STAGES = ("conv3", "conv4", "conv5")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_200)
    parser.add_argument("--shown", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(machine())
    print(f"{'data set':14} {'stage':6} {'method':9} {'fall':>6} {'sd':>6} {'blank':>6}")
    for data in ("fashion-mnist", "drawn-objects"):
        found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for seed in range(options.seeds):
            measure(data, seed, options, found)
        for (stage, method), values in found.items():
            falls, blank = np.array(values).T
            print(
                f"{data:14} {stage:6} {method:9} {falls.mean():6.3f} {falls.std():6.3f} {blank.mean():6.3f}", flush=True
            )


def measure(data: str, seed: int, options: argparse.Namespace, found: dict[tuple[str, str], list]) -> None:
    """Train one run, and add what each stage and method finds."""
    config = TrainConfig(data=data, head="linear", limit=options.images, val_fraction=0.2, image_size=128, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = fit(config, output_dir=Path(folder, "runs"))
        explainer = Explainer.load(run.folder)
        val = split(load_dataset(data), run.config).val
    resized = explainer.model.preprocess.resize(val.pixels(np.arange(min(options.shown, len(val)))))
    pictures = np.moveaxis(resized.expand(-1, 3, -1, -1).round().byte().numpy(), 1, -1)  # (N, S, S, 3)
    blurred = np.stack([Image.fromarray(one).filter(ImageFilter.BoxBlur(RADIUS)) for one in pictures])
    before = explainer.predict_proba(pictures)
    answers = before.argmax(1)

    def fall(maps: NDArray[np.float32]) -> float:
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        heat = enlarge(
            (maps - low) / np.maximum(high - low, 1e-12), pictures.shape[1]
        )  # signed: order is all that counts
        hidden = heat > np.quantile(heat, 1 - HIDDEN, axis=(1, 2), keepdims=True)
        after = explainer.predict_proba(np.where(hidden[..., None], blurred, pictures))
        return float((before - after)[np.arange(len(answers)), answers].mean())

    random = np.random.default_rng(seed)
    for stage in STAGES:
        for method in METHODS:
            maps = explainer.signed_maps(pictures, answers.tolist(), stage, method)
            found[stage, method].append((fall(maps), float((maps.max((1, 2)) <= 0).mean())))
        found[stage, "random"].append((fall(random.random(maps.shape, np.float32)), 0.0))


if __name__ == "__main__":
    main()
