"""Who is shown bars: whoever passes some, a notebook, and nobody else."""

import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from frostline._utils.progress import Silent, in_notebook, visible

CELL = """
from frostline._utils import progress
progress.REDRAWN_AFTER = 0
with progress.visible(None).bar("<looking>", 8, "images") as bar:
    bar.advance(2)
    bar.note("loss 0.5")
    shown = bar._image
print(shown["text/html"])
"""


def ipython(**shell: object) -> SimpleNamespace:
    return SimpleNamespace(get_ipython=lambda: SimpleNamespace(**shell))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (None, False),
        (SimpleNamespace(get_ipython=lambda: None), False),
        (ipython(), False),
        (ipython(kernel=None), False),
        (ipython(kernel=object()), True),
    ],
    ids=["no IPython", "imported by a script", "on a terminal", "without a kernel", "in a kernel"],
)
def test_a_notebook_is_known_by_its_kernel(
    module: SimpleNamespace | None, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", module)
    assert in_notebook() is expected


def test_a_script_is_shown_nothing() -> None:
    assert isinstance(visible(None), Silent)


def test_what_is_passed_is_used_in_a_notebook_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", ipython(kernel=object()))
    mine = Silent()
    assert visible(mine) is mine


def test_a_notebook_shows_a_bar_that_goes_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    seen = []

    class Client(NotebookClient):
        def process_message(self, message, cell, cell_index):  # type: ignore[no-untyped-def]
            if message["msg_type"] in ("display_data", "update_display_data"):
                seen.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, cell_index)

    Client(notebook, timeout=120, kernel_name="python3").execute()
    bar, printed = notebook.cells[0].outputs
    assert seen[0].startswith("<looking>  0/8 images, 0/s")
    assert seen[1].startswith("<looking>  2/8 images, ")
    assert seen[1].endswith(" s left")
    assert seen[2].endswith("  loss 0.5")
    assert seen[3] == bar.data["text/plain"] == ""
    assert printed.text.startswith("<progress value='2' max='8'></progress> &lt;looking&gt;  2/8 images, ")
