"""Is a long image better padded, cropped or squashed into the square that a network reads?

    python -m bench framing FOLDER [--networks efficientnet-lite0,alexnet] [--shuffles 4] [--share 0.875]

FOLDER holds class folders. Prints how long the images are, and for each network and each `--fit` the five-fold
cross-validated accuracy of a closed-form head on its last stage and on several stages, the mean of a few shuffles of
the folds. Near-duplicates are in the same fold. The last column is the center square with only the given share of its
side, which is how ImageNet networks are usually evaluated (timm's `crop_pct`).

About 5 minutes on 2 cores for 360 images.
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from bench.common.options import make_parser, parse
from bench.common.tables import Table
from frostline import from_folder
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.decoder import headers
from frostline.data.decoding.target import FITS, WHOLE, Target
from frostline.data.preprocess import MAX_IMAGE_SIZE
from frostline.pipeline import rank
from frostline.pipeline.context import make_context


def crop_to_share(data: ImageDataset, share: float, folder: Path) -> ImageDataset:
    """Return the images cut to the center square with a share of its side, in class folders of their own."""
    for number in range(len(data)):
        place = folder / data.class_names[data.labels[number]]
        place.mkdir(parents=True, exist_ok=True)
        (pixels,) = data.decoding(np.array([number]), Target(MAX_IMAGE_SIZE, WHOLE))()
        image = Image.fromarray(pixels)
        width, height = image.size
        half = share * min(width, height) / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        image.crop(tuple(round(edge) for edge in box)).save(place / f"{number}.png")
    return from_folder(folder, test_fraction=0.0).train


def main(arguments: Sequence[str]) -> None:
    parser = make_parser(__doc__, networks="efficientnet-lite0,alexnet", shuffles=4, share=0.875)
    parser.add_argument("folder")
    options = parse(parser, arguments)
    images = from_folder(options.folder, test_fraction=0.0).train
    aspects = np.array([max(size) / min(size) for size, _ in headers(list(images.images))])
    shares = ", ".join(f"{(aspects > limit).mean():.0%} over {limit}" for limit in (1.3, 1.67))
    print(f"{len(images):,} images of {len(images.class_names)} classes; longer by shorter side: {shares}")
    found = defaultdict[tuple[str, str, str], list[float]](list)
    with tempfile.TemporaryDirectory() as folder:
        context = make_context("cpu", f"{folder}/cache")
        center = crop_to_share(images, options.share, Path(folder, "center"))
        for name, data, fit in [*((fit, images, fit) for fit in FITS), (f"crop {options.share}", center, "crop")]:
            for shuffle in range(options.shuffles):
                with patch.object(rank, "SEED", shuffle):
                    for one in rank.rank_networks(data, options.networks.split(","), context, count=len(data), fit=fit):
                        found[one.model, one.stages, name].append(one.accuracy)
    columns = list(dict.fromkeys(key[2] for key in found))
    table = Table("network:20", "stages:40", *(f"{name}:>8" for name in columns))
    for model, stages in dict.fromkeys(key[:2] for key in found):
        table.row(model, stages, *(f"{statistics.mean(found[model, stages, name]):.3f}" for name in columns))
