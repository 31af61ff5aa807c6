"""A finished run that is only read; tests that change one make their own or copy it."""

from pathlib import Path

import pytest

from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.quick import whole_runs
from tests.small_run import small_config


@pytest.fixture(scope="session")
def run_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache that the finished run filled: 290 images on conv5."""
    return tmp_path_factory.mktemp("run-cache")


@pytest.fixture(scope="session")
def finished(small_fashion: Path, run_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run named ``first``, with all that belongs to it."""
    folder = tmp_path_factory.mktemp("runs")
    with whole_runs():
        return fit(small_config(small_fashion, epochs=6), name="first", output_dir=folder, cache_dir=run_cache)
