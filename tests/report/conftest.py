"""A finished run whose class names are as odd as they come, and a browser."""

import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright

from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.data.dataset import Splits
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.small_run import FAST

NAMES = (
    "<script>alert('truth')</script>",
    '"><img src="http://127.0.0.1:9/x" onerror="alert(1)">',
    "shirts, blouses, and tops",
    "🧥 coat",
    "{{ metrics }} & <b>bold</b>",
    ("a very long name " * 8).strip(),
    "$x_1$ \\frac{a}{b}",
    "unbroken" * 20,
    "שלום",
    "test.accuracy",
)


@pytest.fixture(scope="session")
def odd(fashion: Splits, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run named ``odd`` over 300 images."""
    place = tmp_path_factory.mktemp("odd")
    train, test = fashion.train.subset(np.arange(260)), fashion.test.subset(np.arange(120))
    pairs = [(np.asarray(part.images), part.labels) for part in (train, test)]
    splits = from_arrays(*pairs[0], NAMES, test=pairs[1], name="odd")
    config = TrainConfig(**{**FAST, "data": "odd", "epochs": 4, "val_fraction": 0.2})
    return fit(config, name="odd", output_dir=place / "runs", cache_dir=place / "cache", splits=splits)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield running
        running.close()
