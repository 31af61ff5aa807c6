"""The files that are damaged, built once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.robustness.trials import Watched, prepare


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs, caches, tables, studies, weights and an export; all workers of pytest-xdist share them."""
    folder = tmp_path_factory.getbasetemp()
    root = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "material"
    prepare(root)
    return root


@pytest.fixture(scope="module")
def watched(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A process that runs cases, and is killed when one hangs."""
    with Watched(material, tmp_path_factory.mktemp("watched") / "place") as process:
        yield process


@pytest.fixture
def trained(material: Path, tmp_path: Path) -> Path:
    """The folder that `frostline` runs in, with runs ``first`` and ``second`` and their cache; images are in ``p``."""
    for name in ("runs/first", "runs/second", "cache"):
        shutil.copytree(material / "base" / name, tmp_path / name)
    (tmp_path / "p").symlink_to(material / "p")
    return tmp_path
