"""Processes that decode pictures: results in order, lower priority, and a clear word when one is killed."""

import os
import signal

import pytest

from frostline.errors import DataError
from frostline.images.workers import FEW, GIVE_WAY, Workers


@pytest.mark.parametrize("pictures", [1, FEW + 1])
def test_results_come_in_the_order_of_the_items(pictures: int) -> None:
    with Workers(2, pictures) as workers:
        begun = [workers.map(abs, range(-start, 0), at_once=3) for start in (20, 7)]
        assert list(begun[1]) == list(range(7, 0, -1))
        assert list(begun[0]) == list(range(20, 0, -1))


def test_few_pictures_start_no_process() -> None:
    with Workers(2, FEW) as workers:
        assert set(workers.map(_process, range(4))) == {os.getpid()}


def _process(_: int) -> int:
    return os.getpid()


def test_processes_give_way() -> None:
    with Workers(2, FEW + 1) as workers:
        assert list(workers.map(os.nice, [0, 0])) == [min(19, os.nice(0) + GIVE_WAY)] * 2


def test_a_process_that_is_killed_is_one_clear_line() -> None:
    with Workers(2, FEW + 1) as workers, pytest.raises(DataError, match=r"killed \(out of memory\?\).*--workers"):
        list(workers.map(signal.raise_signal, [signal.SIGKILL] * 3))
