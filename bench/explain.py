"""Do explanation maps mark what a prediction depends on?

    python -m bench explain [--images 1200] [--shown 200] [--seeds 3]

Blurs the fifth of an image that a map marks most, and measures by how much the probability of the predicted class
falls. For each data set, stage and method, over validation images, prints the mean fall of the seeds (larger is better)
and its standard deviation; `random` marks random places. `blank` is the share of maps in which nothing speaks for the
class.

About 10 minutes on 2 cores.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from bench.common.options import start
from bench.common.runs import fit_in
from bench.common.tables import Table
from frostline import TrainConfig, load_dataset
from frostline.inference.explain import METHODS, Explainer, enlarge
from frostline.pipeline.resolve import split

HIDDEN = 0.2
RADIUS = 15  # of the box that blurs, at 128 px
STAGES = ("conv3", "conv4", "conv5")


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=1_200, shown=200, seeds=3)
    table = Table("data set:14", "stage:6", "method:9", "fall:>6", "sd:>6", "blank:>6")
    for data in ("fashion-mnist", "drawn-objects"):
        found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for seed in range(options.seeds):
            for stage, method, fall, blank in measure(data, options.images, options.shown, seed):
                found[stage, method].append((fall, blank))
        for (stage, method), values in found.items():
            falls, blanks = np.array(values).T
            table.row(data, stage, method, f"{falls.mean():.3f}", f"{falls.std():.3f}", f"{blanks.mean():.3f}")


def measure(data: str, limit: int, shown: int, seed: int) -> Iterator[tuple[str, str, float, float]]:
    """Train one run; yield each stage and method, the fall of the probability, and the share of blank maps."""
    config = TrainConfig(data=data, head="linear", limit=limit, val_fraction=0.2, image_size=128, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        run = fit_in(folder, config)
        explainer = Explainer.load(run.folder)
        val = split(load_dataset(data), run.config).val
    resized = explainer.model.preprocess.resize(val.pixels(np.arange(min(shown, len(val)))))
    images = np.moveaxis(resized.expand(-1, 3, -1, -1).round().byte().numpy(), 1, -1)  # (N, S, S, 3)
    blurred = np.stack([Image.fromarray(one).filter(ImageFilter.BoxBlur(RADIUS)) for one in images])
    before = explainer.predict_proba(images)
    answers = before.argmax(1)

    def fall(maps: NDArray[np.float32]) -> float:
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        # signed maps: only the order of places counts
        heat = enlarge((maps - low) / np.maximum(high - low, 1e-12), images.shape[1])
        hidden = heat > np.quantile(heat, 1 - HIDDEN, axis=(1, 2), keepdims=True)
        after = explainer.predict_proba(np.where(hidden[..., None], blurred, images))
        return float((before - after)[np.arange(len(answers)), answers].mean())

    random = np.random.default_rng(seed)
    for stage in STAGES:
        for method in METHODS:
            maps = explainer.signed_maps(images, answers.tolist(), stage, method)
            yield stage, method, fall(maps), float((maps.max((1, 2)) <= 0).mean())
        yield stage, "random", fall(random.random(maps.shape, np.float32)), 0.0
