"""One small run, and one server of it for every test that does not change what it serves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from frostline.images.dataset import Splits
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.serve.running import Running, png
from tests.small_run import small_config


@pytest.fixture(scope="session")
def run(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run named ``first``."""
    place = tmp_path_factory.mktemp("serve")
    config = small_config(small_fashion, epochs=6)
    return fit(config, name="first", output_dir=place / "runs", cache_dir=place / "cache")


@pytest.fixture(scope="session")
def server(run: Run) -> Iterator[Running]:
    """A server with the limits that everybody gets."""
    running = Running(run.folder)
    yield running
    running.close()


@pytest.fixture(scope="session")
def garments(fashion: Splits) -> list[tuple[str, bytes]]:
    """Twenty PNG files with their names."""
    return [(f"garment-{i:02}.png", png(np.asarray(image))) for i, image in enumerate(fashion.test.images[:20])]
