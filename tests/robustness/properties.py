"""The property of every reader: damage leads to the right answer, or to an error that names the file."""

from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.robustness.damages import KINDS
from tests.robustness.readers import READERS
from tests.robustness.trials import Case, Watched, damaged_files, possible, quota

CASES = 2_000  # over all readers; bench/damage.py tries ten times as many


def check_reader(name: str, material: Path, watched: Watched) -> None:
    """Run a reader's share of all cases, the same in each run of the tests."""
    files = damaged_files(READERS[name], material / "base")

    @settings(
        max_examples=quota(READERS[name], CASES), derandomize=True, database=None, deadline=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(file=st.sampled_from(files), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
    def tried(file: str, kind: str, seed: int) -> None:
        case = Case(name, file, possible(name, file, kind), seed)
        verdict = watched.try_case(case)
        assert not verdict.fault, f"{verdict} (python -m bench damage --case '{case.line}')"

    tried()
