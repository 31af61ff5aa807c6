"""A finished run that commands read."""

from pathlib import Path

import pytest

from frostline.runs.fit import fit
from frostline.runs.folder import Run
from tests.small_run import small_config


@pytest.fixture(scope="session")
def finished(small_fashion: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run named ``first``; its cache lies in ``cache`` beside the folder of runs."""
    place = tmp_path_factory.mktemp("cli")
    config = small_config(small_fashion, epochs=6)
    return fit(config, name="first", output_dir=place / "runs", cache_dir=place / "cache")
