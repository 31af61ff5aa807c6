"""The lesson runs from its first cell to its last, in a kernel of its own, on a few images."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

LESSON = Path(__file__).parents[2] / "examples" / "lesson.ipynb"
PLOTS = 9
CHANCE = 0.1  # ten classes, equally frequent


@pytest.fixture
def lesson() -> nbformat.NotebookNode:
    """The lesson as it is committed."""
    return nbformat.read(LESSON, as_version=4)


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.get("outputs", []) if output.output_type == "stream")


def plots(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def test_is_committed_without_outputs(lesson: nbformat.NotebookNode) -> None:
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_runs_on_few_images(lesson: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"LESSON_LIMIT": "130", "LESSON_SEEDS": "1"}
    own = {name: str(tmp_path / "jupyter") for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    for name, value in {**small, **own, "FROSTLINE_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "work"
    place.mkdir()

    NotebookClient(lesson, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}}).execute()

    assert not list(place.iterdir()), "runs belong into a temporary folder"
    assert sum(map(plots, lesson.cells)) == PLOTS
    said = "\n".join(map(printed, lesson.cells))
    assert re.search(r"^second .* activations of (\d+) images, \1 of them from the cache", said, re.MULTILINE)
    found = [float(number) for number in re.findall(r"test accuracy ([\d.]+) \(", said)]
    assert len(found) == 2 and found[0] == found[1], "the conclusion repeats the one test result"
    assert CHANCE < found[-1] <= 1
