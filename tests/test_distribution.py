"""The wheels: what is in them, and that they work without the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import nbformat
import numpy as np
import pytest
from PIL import Image

import frostline

ROOT = Path(__file__).parents[1]
PROJECTS = {"frostline": ROOT, "frostline_runtime": ROOT / "runtime"}
NEEDED = {
    "frostline/py.typed",
    "frostline/models/bundled/alexnet.safetensors",
    "frostline/report/templates/report.html",
    "frostline/studies/audit/templates/audit.html",
    "frostline/studies/audit/templates/verdicts.js",
    "frostline/serve/static/index.html",
}


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both wheels by name, built as `make dist` does."""
    folder = tmp_path_factory.mktemp("dist")
    found = {}
    for name, project in PROJECTS.items():
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
        subprocess.run(build, cwd=project, capture_output=True, check=True)
        (found[name],) = folder.glob(f"{name}-*.whl")
    return found


@pytest.fixture(scope="session")
def unpacked(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel alone; the other packages are those of this environment."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--target", folder, wheels["frostline"]], check=True, capture_output=True)
    return folder


def members(wheel: Path) -> set[str]:
    """The files of a wheel, without its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def metadata(wheel: Path) -> list[tuple[str, str]]:
    """The fields of a wheel's metadata."""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode()).items()


def package() -> set[str]:
    """The files of the package in the checkout."""
    folder = ROOT / "src"
    found = (path for path in (folder / "frostline").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


def test_wheel_has_the_whole_package_and_nothing_else(wheels: dict[str, Path]) -> None:
    assert members(wheels["frostline"]) == package()
    assert members(wheels["frostline"]) >= NEEDED


def test_runtime_is_a_part_of_the_package_without_weights(wheels: dict[str, Path]) -> None:
    found = members(wheels["frostline_runtime"])
    assert found - {"frostline/LICENSE"} < package()
    assert not any(name.endswith(".safetensors") for name in found)


def test_versions_are_those_of_the_package(wheels: dict[str, Path]) -> None:
    assert [dict(metadata(wheel))["Version"] for wheel in wheels.values()] == [frostline.__version__] * 2


def test_runtime_asks_for_what_frostline_asks_for(wheels: dict[str, Path]) -> None:
    """With the same bounds, apart from what its extras serve and export need; so never for torch."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    required = {value for field, value in metadata(wheels["frostline_runtime"]) if field == "Requires-Dist"}
    assert required <= {*project["dependencies"], *extras["serve"], *extras["export"]}
    assert not {"torch>=2.10,<3", "scikit-learn>=1.6", "matplotlib>=3.9"} & required


def test_extra_all_has_every_extra_for_users() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (every,) = extras["all"]
    assert set(every.removeprefix("frostline[").removesuffix("]").split(",")) == set(extras) - {
        "all", "cluster", "dev", "docs",
    }  # fmt: skip


def test_demo_installs_what_the_readme_goes_on_to_use() -> None:
    extras = {"serve", "export", "explain", "audit", "tune"}  # each the name of a command that needs it
    used = set(re.findall(r"^frostline (\S+)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    (installed,) = re.findall(r"--editable '\.\[(?!dev)(.+)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert used & extras == set(installed.split(","))


def test_dockerfile_installs_as_root_and_serves_as_a_user() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    base = lines.index("FROM python:3.11-slim AS base")
    assert "USER frostline" in lines[base:]
    assert not any("pip install" in line for line in lines[base:])
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert all((ROOT / line[1:]).exists() for line in ignored if line.startswith("!"))


def run(folder: Path, place: Path, words: Sequence[object]) -> str:
    """Run a program of the installed wheel and return its output."""
    command = [sys.executable, *map(str, words)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ["PYTHONPATH"]])}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed_wheel_trains_and_predicts(unpacked: Path, tmp_path: Path) -> None:
    where = run(unpacked, tmp_path, ["-c", "import frostline; print(frostline.__file__)"])
    assert Path(where.strip()).is_relative_to(unpacked)
    script = unpacked / "bin" / "frostline"
    assert "train" in run(unpacked, tmp_path, [script, "--help"])
    Image.fromarray(np.full((40, 40), 90, np.uint8)).save(tmp_path / "gray.png")
    few = ["--limit", "300", "--image-size", "64"]
    run(unpacked, tmp_path, [script, "train", "drawn-objects", *few, "--weights", "bundled", "--name", "first"])
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    assert "gray.png" in run(unpacked, tmp_path, [script, "predict", "first", "gray.png"])


def test_runtime_has_every_module_that_it_imports(wheels: dict[str, Path], tmp_path: Path) -> None:
    with ZipFile(wheels["frostline_runtime"]) as archive:
        archive.extractall(tmp_path)
    imports = (
        "import frostline.serve.server, frostline.serve.model, frostline.inference.onnx as onnx; print(onnx.__file__)"
    )
    where = run(tmp_path, tmp_path, ["-c", imports])
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert "serve" in run(tmp_path, tmp_path, ["-m", "frostline", "--help"])
    assert "FILE.onnx" in run(tmp_path, tmp_path, ["-m", "frostline", "serve", "--help"])


def without_frostline(folder: Path) -> Path:
    """The interpreter of an environment with every package of this one, linked, but Frostline."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "frostline" not in entry.name and not (packages / entry.name).exists():
            (packages / entry.name).symlink_to(entry)
    return folder / "bin" / "python"


def test_lesson_installs_the_wheel_beside_it(wheels: dict[str, Path], tmp_path: Path) -> None:
    """As in a hosted notebook, where Frostline is missing."""
    python = without_frostline(tmp_path / "environment")
    lesson = nbformat.read(ROOT / "examples" / "lesson.ipynb", as_version=4)
    first = next(cell.source for cell in lesson.cells if cell.cell_type == "code")
    place = tmp_path / "an upload"
    place.mkdir()
    (place / "first.ipy").write_text(f"{first}\nimport frostline\nprint(frostline.__file__)\n", encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "IPYTHONDIR": str(tmp_path / "ipython")}

    def run_first_cell() -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "IPython", "--colors=NoColor", "first.ipy"]
        return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, check=False)

    said = run_first_cell()
    assert "ModuleNotFoundError: Frostline is not installed: put the wheel" in said.stdout + said.stderr
    shutil.copy(wheels["frostline"], place)
    said = run_first_cell()
    where = said.stdout.strip().splitlines()[-1]
    assert Path(where).is_relative_to(tmp_path / "environment"), said.stdout + said.stderr
