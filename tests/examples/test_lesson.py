"""The lesson runs from its first cell to its last, in a kernel of its own, on a few images."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

LESSON = Path(__file__).parents[2] / "examples" / "lesson.ipynb"
PLOTS = 9
CHANCE = 0.1  # ten classes, equally frequent
QUICKLY = "from tests.quick import quick_runs\nquick = quick_runs()\nquick.__enter__()"  # for the whole kernel
FINE_TUNING = "FINE_TUNING_EPOCHS = 6"
NO_ANSWER = "answer = None"
ANSWERS = {  # the value that is right, found in another way than the cell finds it; one that is wrong
    1: ("64 * 3 * 11 * 11 + 64", "64 * 3 * 11 * 11"),
    2: ("len(first.history) + len(second.history)", "len(first.history)"),
    3: ("'conv3'", "'conv4'"),
    4: ("'higher'", "'equal'"),
    5: ("names[np.argmin(np.diag(result['confusion']))]", "names[np.argmax(np.diag(result['confusion']))]"),
    6: ("max(label_counts[i] * (accuracy['random'][i] >= accuracy[WEIGHTS][1]).all() for i in (0, 1))", "3"),
}


@pytest.fixture
def lesson() -> nbformat.NotebookNode:
    """The lesson as it is committed."""
    return nbformat.read(LESSON, as_version=4)


def code(lesson: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in lesson.cells if cell.cell_type == "code"]


def printed(cell: nbformat.NotebookNode) -> str:
    return "".join(output.text for output in cell.get("outputs", []) if output.output_type == "stream")


def plots(cell: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def test_is_committed_without_outputs(lesson: nbformat.NotebookNode) -> None:
    assert code(lesson)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code(lesson))


def test_runs_on_few_images_and_checks_answers(
    lesson: nbformat.NotebookNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"LESSON_LIMIT": "130", "LESSON_SEEDS": "1"}
    own = {name: str(tmp_path / "jupyter") for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    for name, value in {**small, **own, "FROSTLINE_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    place = tmp_path / "work"
    place.mkdir()
    settings = next(cell for cell in code(lesson) if FINE_TUNING in cell.source)
    settings.source = settings.source.replace(FINE_TUNING, "FINE_TUNING_EPOCHS = 2")

    checked = run_with_answers(lesson, place)

    assert not list(place.iterdir()), "runs belong into a temporary folder"
    assert sum(map(plots, lesson.cells)) == PLOTS
    said = "\n".join(map(printed, lesson.cells))
    assert re.search(r"^second .* activations of (\d+) images, \1 of them from the cache", said, re.MULTILINE)
    found = [float(number) for number in re.findall(r"test accuracy ([\d.]+) \(", said)]
    assert len(found) == 2 and found[0] == found[1], "the conclusion repeats the one test result"
    assert CHANCE < found[-1] <= 1
    assert len(checked) == len(ANSWERS)
    for right, wrong, none in checked:
        assert right.startswith("Right.\n")
        assert re.fullmatch(r"Not yet\. .+\n", wrong)
        assert none == "No answer yet.\n"


def run_with_answers(lesson: nbformat.NotebookNode, place: Path) -> list[tuple[str, ...]]:
    """Run every cell; return what each exercise prints of its right answer, its wrong one, and none."""
    checked = []
    client = NotebookClient(lesson, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(place)}})
    with client.setup_kernel():
        client.execute_cell(nbformat.v4.new_code_cell(QUICKLY), 0)
        for index, cell in enumerate(lesson.cells):
            if "exercise" not in cell.metadata.get("tags", []):
                client.execute_cell(cell, index)
                continue
            source, prints = cell.source, []
            for answer in (*ANSWERS[len(checked) + 1], "None"):
                cell.source = source.replace(NO_ANSWER, f"answer = {answer}")
                client.execute_cell(cell, index)
                prints.append(printed(cell))
            checked.append(tuple(prints))
    return checked
