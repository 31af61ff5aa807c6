"""Exported files are used without torch, scikit-learn and whatever else training needs."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from frostline.data.dataset import Splits
from frostline.inference.onnx import OnnxClassifier


def installed_with(requirements: Iterable[str]) -> set[str]:
    """The distributions that some requirements bring, those of their own requirements included."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            for one in map(Requirement, distribution(name).requires or []):
                if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                    left.append(one)
    return found


def absent() -> tuple[str, ...]:
    """The packages here that frostline-runtime does not install."""
    project = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    brought = installed_with(project["dependencies"])
    packages = packages_distributions().items()
    return tuple(name for name, owners in packages if not brought & {canonicalize_name(owner) for owner in owners}
                 and name != "frostline")  # fmt: skip


ROOT = Path(__file__).parents[2]
ABSENT = absent()
WITHOUT = f"import sys; sys.modules |= dict.fromkeys({ABSENT})\n"  # importing one raises ModuleNotFoundError
PREDICT = """
import json
from frostline import OnnxClassifier
print(json.dumps(OnnxClassifier("model.onnx", threads=1).predict_proba(["garment.png"]).tolist()))
"""
COMMAND = "from frostline.cli.main import run; sys.exit(run(sys.argv[1:]))"


@pytest.fixture
def place(tmp_path: Path, content: bytes, fashion: Splits) -> Path:
    """A folder with an exported file and an image."""
    (tmp_path / "model.onnx").write_bytes(content)
    Image.fromarray(np.asarray(fashion.test.images[0])).save(tmp_path / "garment.png")
    return tmp_path


def without_torch(place: Path, code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WITHOUT + code, *arguments]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def libraries(process: int) -> str:
    """The files that a process and its children have loaded code from."""
    children = [path.read_text().split() for path in Path(f"/proc/{process}/task").glob("*/children")]
    numbers = [process, *(int(child) for some in children for child in some)]
    assert len(numbers) > 1  # with the processes that decode
    return "".join(Path(f"/proc/{number}/maps").read_text() for number in numbers)


def test_predictions_need_no_torch(place: Path, onnx_classifier: OnnxClassifier) -> None:
    output, errors = without_torch(place, PREDICT).communicate(timeout=120)
    assert errors == ""
    assert np.array_equal(json.loads(output), onnx_classifier.predict_proba([place / "garment.png"]).astype(float))


def test_server_of_an_exported_file_needs_no_torch(place: Path, onnx_classifier: OnnxClassifier) -> None:
    process = without_torch(place, COMMAND, "serve", "model.onnx", "--port", "0")
    try:
        address = process.stdout.readline().split()[-1]
        image = (place / "garment.png").read_bytes()
        request = Request(f"{address}v1/predict?top=10", image, {"Content-Type": "image/png"})
        with urlopen(request) as response:
            (result,) = json.load(response)["results"]
        with urlopen(f"{address}docs") as page:
            assert b"v1/predict" in page.read()
        loaded = libraries(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    found = {one["class"]: one["probability"] for one in result["predictions"]}
    expected = onnx_classifier.predict_proba([image])[0]
    assert [found[name] for name in onnx_classifier.class_names] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [name for name in ABSENT if f"{os.sep}{name}{os.sep}" in loaded] == []
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("words", [["train", "fashion-mnist"], ["serve", "first"], ["models", "list"]])
def test_commands_that_need_torch_say_what_to_install(place: Path, words: list[str]) -> None:
    process = without_torch(place, COMMAND, *words)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert errors.startswith("frostline: this command needs ")
    assert "which is not installed: pip install frostline, in an environment of its own" in errors
    assert errors.count("\n") == 1
