"""A program that fills a cache: ``fill_once.py CACHE COUNT…`` or ``fill_once.py CACHE START:COUNT…``.

It prints "ready", waits for a line on standard input, then makes one pass for each wish and prints one line of JSON:
the rows computed and a digest of all rows asked for, or the error that a user would read.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

from frostline.activations.fill import fill
from frostline.activations.forward import FastForward
from frostline.activations.spec import spec_of
from frostline.errors import FrostlineError
from frostline.images import fashion_mnist
from frostline.images.preprocess import Preprocess
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.registry import load_backbone


def main(cache: Path, wishes: list[str]) -> None:
    """Fill ``cache`` with real images' activations."""
    torch.set_num_threads(1)
    backbone = load_backbone("alexnet", "random")
    forward = FastForward(Frozen(backbone, make_boundary(backbone, "conv1", ())), Preprocess(64), torch.device("cpu"))
    spec = spec_of("alexnet", forward.frozen, forward.preprocess, "float16")
    train = fashion_mnist.load().train
    print("ready", flush=True)
    sys.stdin.readline()
    for wish in wishes:
        start, _, count = wish.rpartition(":")
        images = train.subset(np.arange(int(count)) + int(start or 0))
        try:
            kept, done = fill([images], forward, spec, cache)
        except FrostlineError as error:
            print(json.dumps({"error": str(error)}))
        else:
            rows = kept[0].take(np.arange(len(images))).numpy()
            digest = hashlib.sha256(rows.tobytes()).hexdigest()
            print(json.dumps({"computed": done.images - done.from_cache, "rows": len(rows), "digest": digest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
