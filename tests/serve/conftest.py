"""One small run, and one server of it for every test that does not change what it serves."""

from collections.abc import Iterator

import numpy as np
import pytest

from frostline.data.dataset import Splits
from frostline.runs.folder import Run
from tests.serve.running import Running, png


@pytest.fixture(scope="session")
def run(finished: Run) -> Run:
    """The finished run, named ``first``."""
    return finished


@pytest.fixture(scope="session")
def server(run: Run) -> Iterator[Running]:
    """A server with the default limits."""
    running = Running(run.folder)
    yield running
    running.close()


@pytest.fixture(scope="session")
def garments(fashion: Splits) -> list[tuple[str, bytes]]:
    """Twenty PNG files with their names."""
    return [(f"garment-{i:02}.png", png(np.asarray(image))) for i, image in enumerate(fashion.test.images[:20])]
