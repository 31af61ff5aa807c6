"""Times: of the clock and of the processor, medians, and ways that take turns."""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Self, TypeVar

T = TypeVar("T")


class Stopwatch:
    """Seconds of the clock and of the processor (ended child processes included) that a block took."""

    seconds: float
    processor_seconds: float

    def __enter__(self) -> Self:
        self._begun, self._used = time.perf_counter(), sum(os.times()[:4])
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begun
        self.processor_seconds = sum(os.times()[:4]) - self._used


def median_seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the median time of some work, after one run that warms up."""
    work()
    times = []
    for _ in range(repeats):
        with Stopwatch() as watch:
            work()
        times.append(watch.seconds)
    return statistics.median(times)


def alternate(ways: Mapping[str, Callable[[], T]], repeats: int) -> Iterator[tuple[str, T, Stopwatch]]:
    """Let ways take turns, so that whatever else the machine does slows all of them; yield each result and its time."""
    for _ in range(repeats):
        for name, way in ways.items():
            with Stopwatch() as watch:
                result = way()
            yield name, result, watch
