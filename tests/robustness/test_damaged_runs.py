"""Damage to a run, its model, an export or a study never gives a wrong answer; see `properties.py`."""

import pytest

from tests.robustness.damages import PLACES
from tests.robustness.properties import check_reader
from tests.robustness.trials import Case

READERS = (
    "predict", "bundle", "serve", "onnx", "explain", "sample", "evaluate", "runs", "compare", "report", "resume",
    "tune", "curve", "corrected",
)  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_damage_gives_the_right_answer_or_names_the_file(name, material, watched):
    check_reader(name, material, watched)


@pytest.mark.parametrize(("reader", "kinds"), [("predict", PLACES[2:]), ("report", ("pipe",))])
def test_nothing_in_the_place_of_any_file_of_a_run_is_waited_for(reader, kinds, material, watched):
    files = [path for path in (material / "base" / "runs" / "first").rglob("*") if path.is_file()]
    for path in files:
        for kind in kinds:
            file = str(path.relative_to(material / "base"))
            verdict = watched.try_case(Case(reader, file, kind, 0))
            assert not verdict.fault, (file, kind, verdict)
