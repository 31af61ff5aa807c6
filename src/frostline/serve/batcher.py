"""Requests that arrive together go through the network together: a bounded queue, a bounded wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.schemas import busy

Item = TypeVar("Item")
Result = TypeVar("Result")
T = TypeVar("T")


class Batcher(Generic[Item, Result]):
    """The threads that the network runs in, and the images that wait for it.

    A free thread takes what waits; what comes while all are busy leaves together, and threads that are free at the same
    time share. Where many images were taken in, a few that wait stay for others, up to ``limits.wait_seconds``, since
    more in a batch cost less each; where few were, nobody waits.

    Parameters
    ----------
    classify : callable
        Images to one result each; called in several threads at once.
    limits : Limits
    metrics : Metrics, optional
        Without them, nothing is counted.
    threads : int
        How many batches are computed at once.
    begin : callable, optional
        What each of the threads does first.
    """

    def __init__(
        self,
        classify: Callable[[Sequence[Item]], Sequence[Result]],
        limits: Limits,
        metrics: Metrics | None = None,
        threads: int = 1,
        begin: Callable[[], None] | None = None,
    ) -> None:
        self._classify, self._limits, self._metrics = classify, limits, metrics
        self._threads = ThreadPoolExecutor(threads, "frostline-batches", initializer=begin)
        self._free = threads
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._admitted = 0  # images that were taken in and not yet answered
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Hold places for images until they are answered.

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

    def _admit(self, count: int) -> None:
        self._admitted += count
        if self._metrics:
            self._metrics.waiting.set(self._admitted)

    async def classify(self, images: Sequence[Item]) -> list[Result]:
        """Return the result of each admitted image; when it is canceled, what still waits is not computed."""
        loop = asyncio.get_running_loop()
        request = _Request[Item, Result](images, loop.create_future(), loop.time() + self._limits.wait_seconds)
        self._waiting.append(request)
        self._send_off()
        return await request.answer

    async def beside(self, work: Callable[[], T]) -> T:
        """Do something else with the network, in one of its threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _send_off(self) -> None:
        """Begin batches while there are free threads and images that wait."""
        loop = asyncio.get_running_loop()
        while self._free and (count := self._count()):
            due = self._waiting[0].due
            if count < self._limits.enough <= self._admitted and loop.time() < due:
                self._timer = self._timer or loop.call_at(due, self._late)
                return
            batch = self._take(min(self._limits.batch, -(-count // self._free)))
            images = [request.images[place] for request, place in batch]
            if self._metrics:
                self._metrics.batch.observe(len(images))
            self._free -= 1
            computing = loop.run_in_executor(self._threads, self._classify, images)
            computing.add_done_callback(partial(self._answer, batch))

    def _late(self) -> None:
        self._timer = None
        self._send_off()

    def _count(self) -> int:
        return sum(request.left for request in self._waiting)

    def _take(self, most: int) -> list[tuple["_Request[Item, Result]", int]]:
        """Return the next images in line, each as its request and its place there."""
        batch: list[tuple[_Request[Item, Result], int]] = []
        while self._waiting and len(batch) < most:
            request = self._waiting[0]
            if request.left:
                batch.append((request, request.taken))
                request.taken += 1
            if not request.left:
                self._waiting.popleft()
        return batch

    def _answer(
        self, batch: Sequence[tuple["_Request[Item, Result]", int]], computing: asyncio.Future[Sequence[Result]]
    ) -> None:
        self._free += 1
        if computing.cancelled():
            return
        error = computing.exception()
        for number, (request, place) in enumerate(batch):
            if error:  # each request reports it; the next batch is another
                request.fail(error)
            else:
                request.put(place, computing.result()[number])
        self._send_off()


class _Request(Generic[Item, Result]):
    """Images that were asked for together, and their results as these come."""

    def __init__(self, images: Sequence[Item], answer: asyncio.Future[list[Result]], due: float) -> None:
        self.images, self.answer, self.due = images, answer, due
        self.taken = 0
        self._results: dict[int, Result] = {}  # by place

    @property
    def left(self) -> int:
        """How many images still wait; none when the client has gone."""
        return 0 if self.answer.done() else len(self.images) - self.taken

    def put(self, place: int, result: Result) -> None:
        self._results[place] = result
        if len(self._results) == len(self.images) and not self.answer.done():
            self.answer.set_result([self._results[place] for place in range(len(self.images))])

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
