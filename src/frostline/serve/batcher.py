"""Requests that arrive together go through the network together: a bounded queue, a bounded wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.problems import busy

Pixels = NDArray[np.uint8]
Predict = Callable[[Sequence[Pixels]], NDArray[np.float32]]
T = TypeVar("T")


class Batcher:
    """The threads that the network runs in, and the pictures that wait for it.

    Pictures are *admitted* when a request was read, and *ready* when they are decoded. When a thread is free, a batch
    leaves, with what is ready, if that is enough to keep it busy, if every admitted picture is ready or being computed
    (a lone client never waits for others), or if the first has waited for ``limits.wait_seconds``. Free threads share
    what is ready.

    Parameters
    ----------
    predict : callable
        Pictures (H, W) or (H, W, 3) to probabilities (N, classes); from several threads at once.
    limits : Limits
    metrics : Metrics
    threads : int
        How many batches are computed at once.
    begin : callable, optional
        What each of the threads does first.
    """

    def __init__(
        self,
        predict: Predict,
        limits: Limits,
        metrics: Metrics,
        threads: int = 1,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self._predict, self._limits, self._metrics = predict, limits, metrics
        self._threads = ThreadPoolExecutor(threads, "frostline-network", initializer=begin)
        self._free = threads
        self._ready: deque[_Request] = deque()
        self._admitted = self._computed = 0  # pictures: taken in and not yet answered; those of them in batches
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Hold places for pictures while they are decoded and classified.

        Raises
        ------
        ProblemError
            503, when there are too few places.
        """
        if self._admitted + count > self._limits.queue:
            raise busy("the queue is full: try again in a moment.")
        self._admit(count)
        try:
            yield
        finally:
            self._admit(-count)
            self._send_off()

    def _admit(self, count: int) -> None:
        self._admitted += count
        self._metrics.waiting.set(self._admitted)

    async def predict(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the probabilities (N, classes) of admitted pictures; cancelling it costs no network time."""
        loop = asyncio.get_running_loop()
        request = _Request(pictures, loop.create_future(), loop.time() + self._limits.wait_seconds)
        self._ready.append(request)
        self._send_off()
        return await request.answer

    async def beside(self, work: Callable[[], T]) -> T:
        """Do something else with the network, in one of its threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _send_off(self) -> None:
        """Begin the batches that are due."""
        loop = asyncio.get_running_loop()
        while self._free and (count := self._count_ready()):
            due = self._ready[0].due
            if count < min(self._limits.enough, self._admitted - self._computed) and loop.time() < due:
                self._timer = self._timer or loop.call_at(due, self._late)
                return
            batch = self._take(min(self._limits.batch, -(-count // self._free)))
            pictures = [picture for part in batch for picture in part.pictures]
            self._metrics.batch.observe(len(pictures))
            self._free -= 1
            self._computed += len(pictures)
            computing = loop.run_in_executor(self._threads, self._predict, pictures)
            computing.add_done_callback(partial(self._answer, batch, len(pictures)))

    def _late(self) -> None:
        self._timer = None
        self._send_off()

    def _count_ready(self) -> int:
        while self._ready and self._ready[0].answer.done():  # its client has gone
            self._ready.popleft()
        return sum(len(request.pictures) - request.taken for request in self._ready if not request.answer.done())

    def _take(self, most: int) -> list["_Part"]:
        """Return the next pictures in line; those of one request may go in several batches."""
        batch = []
        while most and self._ready:
            request = self._ready[0]
            if not request.answer.done():
                batch.append(request.take(most))
                most -= len(batch[-1].pictures)
            if request.answer.done() or request.taken == len(request.pictures):
                self._ready.popleft()
        return batch

    def _answer(self, batch: list["_Part"], count: int, computing: asyncio.Future[NDArray[np.float32]]) -> None:
        self._free += 1
        self._computed -= count
        if computing.cancelled():
            return
        start, error = 0, computing.exception()
        for part in batch:
            if error:  # each request reports it; the next batch is another
                part.request.fail(error)
            else:
                part.request.put(part.first, computing.result()[start : start + len(part.pictures)])
            start += len(part.pictures)
        self._send_off()


class _Request:
    """Pictures that were asked for together, and their rows as these come."""

    def __init__(self, pictures: Sequence[Pixels], answer: asyncio.Future[NDArray[np.float32]], due: float) -> None:
        self.pictures, self.answer, self.due = pictures, answer, due
        self.taken = 0
        self._rows: dict[int, NDArray[np.float32]] = {}  # by their first picture

    def take(self, most: int) -> "_Part":
        first, self.taken = self.taken, min(self.taken + most, len(self.pictures))
        return _Part(self, first, self.pictures[first : self.taken])

    def put(self, first: int, rows: NDArray[np.float32]) -> None:
        self._rows[first] = rows
        if sum(map(len, self._rows.values())) == len(self.pictures) and not self.answer.done():
            self.answer.set_result(np.concatenate([self._rows[start] for start in sorted(self._rows)]))

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Part(NamedTuple):
    """Some of a request's pictures, from the ``first`` on."""

    request: _Request
    first: int
    pictures: Sequence[Pixels]
