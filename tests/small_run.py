"""A run that takes a second: real images, real network, few of everything."""

from pathlib import Path
from typing import Any

from frostline._utils.manifest import write_manifest
from frostline._utils.progress import Bar, Silent
from frostline.config import TrainConfig
from frostline.runs.bundle import seal_bundle
from frostline.runs.folder import BEGIN_FILES, BUNDLE, LISTED_FILES

FAST = {"data": "fashion-mnist", "weights": "random", "image_size": 64, "taps": "none", "lr": 0.003, "batch_size": 128}
OPTIONS = [
    "--weights",
    "random",
    "--image-size",
    64,
    "--taps",
    "none",
    "--lr",
    0.003,
    "--batch-size",
    128,
    "--no-report",
]


def small_config(data_dir: Path, **changes: Any) -> TrainConfig:
    """Settings for 240 images at 64 px, three epochs; ``changes`` wins."""
    return TrainConfig(**{**FAST, "data_dir": data_dir, "limit": 240, "epochs": 3, "val_fraction": 0.2, **changes})


def reseal(folder: Path) -> None:
    """List the files of a finished run anew, after a test has changed them on purpose."""
    seal_bundle(folder / BUNDLE)
    write_manifest(folder, "run", LISTED_FILES, complete=True)


def unfinish(folder: Path) -> None:
    """Leave a run as a process leaves it that is stopped before it writes the results."""
    write_manifest(folder, "run", BEGIN_FILES)
    (folder / "metrics.json").unlink()


class InterruptTraining(Silent):
    """A progress display that presses Ctrl-C after so many steps of training."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def bar(self, label: str, total: int, unit: str) -> Any:
        return super().bar(label, total, unit) if label != "training" else _Countdown(self)


class _Countdown:
    def __init__(self, owner: InterruptTraining) -> None:
        self._owner = owner

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def advance(self, amount: int) -> None:
        self._owner.steps -= amount
        if self._owner.steps < 0:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        pass
