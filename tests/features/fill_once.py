"""A process of its own that fills a cache with real images' activations."""

import hashlib
import multiprocessing
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frostline.data import fashion_mnist
from frostline.data.dataset import ImageDataset
from frostline.errors import FrostlineError
from frostline.features.extract import fill
from frostline.features.forward import FastForward
from frostline.features.store import feature_key
from tests.commands import PROCESSES, Within, measured
from tests.features.passes import make_forward

SECONDS = 120


class Filling:
    """Makes one pass for each wish, a range of images, once it is told to.

    Parameters
    ----------
    within : callable
        Makes the surroundings that the passes are made in; see `confined.py`.
    """

    def __init__(self, cache: Path, *wishes: range, within: Within = nullcontext) -> None:
        self._pipe, there = multiprocessing.Pipe()
        self.process = PROCESSES.Process(target=_fill, args=(cache, wishes, within, there))
        self.process.start()
        there.close()

    def stand_ready(self) -> None:
        """Wait until it stands before the first pass."""
        assert self._hear() == "ready"

    def go(self) -> None:
        """Let it make its passes."""
        self._pipe.send("go")

    def reports(self) -> list[dict[str, Any]]:
        """For each wish the rows computed and a digest of all rows asked for, or the error that a user would read."""
        reports = self._hear()
        self.process.join()
        assert self.process.exitcode == 0
        return reports  # type: ignore[no-any-return]

    def _hear(self) -> Any:
        if not self._pipe.poll(SECONDS):
            self.process.kill()
            raise TimeoutError
        return self._pipe.recv()


def _fill(cache: Path, wishes: tuple[range, ...], within: Within, pipe: Connection) -> None:
    torch.set_num_threads(1)
    with measured(), pipe:
        train, forward = fashion_mnist.load().train, make_forward("conv1")
        pipe.send("ready")
        pipe.recv()
        with within():
            reports = [_report(train.subset(np.array(wish)), cache, forward) for wish in wishes]
        pipe.send(reports)


def _report(images: ImageDataset, cache: Path, forward: FastForward) -> dict[str, Any]:
    try:
        kept, done = fill(
            [images], forward, feature_key("alexnet", forward.frozen, forward.preprocess, "float16"), cache
        )
    except FrostlineError as error:
        return {"error": str(error)}
    rows = kept[0].take(np.arange(len(images))).numpy()
    digest = hashlib.sha256(rows.tobytes()).hexdigest()
    return {"computed": done.images - done.from_cache, "rows": len(rows), "digest": digest}
