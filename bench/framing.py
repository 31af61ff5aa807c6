"""Is a long image better padded, cropped or squashed into the square that a network reads?

    python -m bench framing FOLDER [--networks efficientnet-lite0,alexnet] [--shuffles 4]

FOLDER holds class folders. Prints how long the images are, and for each network and each `--fit` the five-fold
cross-validated accuracy of a closed-form head on its last stage and on several stages, the mean of a few shuffles of
the folds. Near-duplicates are in the same fold.

About 5 minutes on 2 cores for 360 images.
"""

import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np

from bench.common.options import make_parser, parse
from bench.common.tables import Table
from frostline import from_folder
from frostline.data.decoding.decoder import headers
from frostline.data.decoding.target import FITS
from frostline.pipeline import rank
from frostline.pipeline.context import make_context


def main(arguments: Sequence[str]) -> None:
    parser = make_parser(__doc__, networks="efficientnet-lite0,alexnet", shuffles=4)
    parser.add_argument("folder")
    options = parse(parser, arguments)
    images = from_folder(options.folder, test_fraction=0.0).train
    aspects = np.array([max(size) / min(size) for size, _ in headers(list(images.images))])
    shares = ", ".join(f"{(aspects > limit).mean():.0%} over {limit}" for limit in (1.3, 1.67))
    print(f"{len(images):,} images of {len(images.class_names)} classes; longer by shorter side: {shares}")
    found = defaultdict[tuple[str, str, str], list[float]](list)
    with tempfile.TemporaryDirectory() as cache:
        context = make_context("cpu", cache)
        for fit in FITS:
            for shuffle in range(options.shuffles):
                with patch.object(rank, "SEED", shuffle):
                    for one in rank.rank_networks(
                        images, options.networks.split(","), context, count=len(images), fit=fit
                    ):
                        found[one.model, one.stages, fit].append(one.accuracy)
    table = Table("network:20", "stages:40", *(f"{fit}:>8" for fit in FITS))
    for model, stages in dict.fromkeys(key[:2] for key in found):
        table.row(model, stages, *(f"{statistics.mean(found[model, stages, fit]):.3f}" for fit in FITS))
