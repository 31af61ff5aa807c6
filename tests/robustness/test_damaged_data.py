"""Damage to the cache, a data set, a weight file or settings never gives a wrong answer; see `properties.py`."""

import pytest

from tests.robustness import readers
from tests.robustness.properties import check_reader
from tests.robustness.test_damaged_runs import READERS as OF_RUNS


@pytest.mark.parametrize("name", [name for name in readers.READERS if name not in OF_RUNS])
def test_damage_gives_the_right_answer_or_names_the_file(name, material, watched):
    check_reader(name, material, watched)
