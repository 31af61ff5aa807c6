"""Processes that decode picture files: they load no torch, leave Ctrl-C alone and give way to the network."""

import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from frostline.errors import DataError

FEW = 512  # fewer pictures are decoded in this process before another one has started
GIVE_WAY = 10  # niceness: a network that shares its cores with equals waits for its slowest thread at every layer

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Some processes, or as many threads of this one when there is little to do.

    Parameters
    ----------
    count : int
    pictures : int
        How many are to be decoded.
    """

    def __init__(self, count: int, pictures: int) -> None:
        self._pool: Executor = _processes(count) if count > 1 and pictures > FEW else ThreadPoolExecutor(count)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[Item], Result], items: Sequence[Item], at_once: int = 1) -> Iterator[Result]:
        """Begin with all items at once; return the results in their order, each when it is ready.

        Parameters
        ----------
        work : callable
            From a module that loads no torch.
        items : sequence
        at_once : int
            How many a process is handed together.

        Raises
        ------
        DataError
            When a process was killed.
        """
        try:
            results = self._pool.map(work, items, chunksize=at_once)
        except BrokenProcessPool as error:
            raise _killed() from error
        return _each(results)


def _each(results: Iterator[Result]) -> Iterator[Result]:
    try:
        yield from results
    except BrokenProcessPool as error:
        raise _killed() from error


def _killed() -> DataError:
    return DataError("a process that decoded pictures was killed (out of memory?): use fewer with --workers.")


def _processes(count: int) -> ProcessPoolExecutor:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_give_way)
    with _starting_processes():
        for _ in range(count):  # each starts one
            pool.submit(int)
    return pool


def _give_way() -> None:
    if hasattr(os, "nice"):
        os.nice(GIVE_WAY)


@contextmanager
def _starting_processes() -> Iterator[None]:
    """Keep two things from new processes: the user's script, and Ctrl-C, which this process answers.

    A process would run the script again unless it has an ``if __name__ == "__main__"``.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
