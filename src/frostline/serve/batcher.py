"""Dynamic batching: images of concurrent requests are classified together, with a bounded queue and a bounded wait."""

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
    """Threads that run the network, and the images that wait for them.

    A free thread takes the waiting images; images that arrive while all threads are busy form the next batch, and
    threads that are free at the same time share it. Once ``limits.min_batch`` images are admitted, a smaller batch
    waits up to ``limits.wait_seconds`` for more, since larger batches cost less per image; with fewer, none waits.

    Parameters
    ----------
    classify : callable
        Maps images to one result each; called from several threads at once.
    threads : int
        Batches that are computed at the same time.
    initializer : callable, optional
        Called once in each thread.
    """

    def __init__(
        self,
        classify: Callable[[Sequence[Item]], Sequence[Result]],
        limits: Limits,
        metrics: Metrics | None = None,
        threads: int = 1,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        self._classify, self._limits, self._metrics = classify, limits, metrics
        self._threads = ThreadPoolExecutor(threads, "frostline-batches", initializer=initializer)
        self._free = threads
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._admitted = 0  # images without an answer yet
        self._timer: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def admit(self, count: int) -> Iterator[None]:
        """Reserve places in the queue for images until they are answered; a full queue raises a 503 problem."""
        if self._admitted + count > self._limits.queue:
            raise busy("the queue is full: try again in a moment.")
        self._add_admitted(count)
        try:
            yield
        finally:
            self._add_admitted(-count)

    def _add_admitted(self, count: int) -> None:
        self._admitted += count
        if self._metrics:
            self._metrics.waiting.set(self._admitted)

    async def classify(self, images: Sequence[Item]) -> list[Result]:
        """Return the result of each admitted image; after a cancellation the waiting ones are not computed."""
        loop = asyncio.get_running_loop()
        request = _Request[Item, Result](images, loop.create_future(), loop.time() + self._limits.wait_seconds)
        self._waiting.append(request)
        self._dispatch()
        return await request.answer

    async def run(self, work: Callable[[], T]) -> T:
        """Run a function in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _dispatch(self) -> None:
        """Start batches while there are free threads and waiting images."""
        loop = asyncio.get_running_loop()
        while self._free and (count := sum(request.left for request in self._waiting)):
            due = self._waiting[0].due
            if count < self._limits.min_batch <= self._admitted and loop.time() < due:
                self._timer = self._timer or loop.call_at(due, self._on_timer)
                return
            batch = self._take(min(self._limits.batch, -(-count // self._free)))
            images = [request.images[position] for request, position in batch]
            if self._metrics:
                self._metrics.batch.observe(len(images))
            self._free -= 1
            computing = loop.run_in_executor(self._threads, self._classify, images)
            computing.add_done_callback(partial(self._on_done, batch))

    def _on_timer(self) -> None:
        self._timer = None
        self._dispatch()

    def _take(self, most: int) -> list[tuple["_Request[Item, Result]", int]]:
        """Return the next images of the queue, each as its request and its position there."""
        batch: list[tuple[_Request[Item, Result], int]] = []
        while self._waiting and len(batch) < most:
            request = self._waiting[0]
            if request.left:
                batch.append((request, request.taken))
                request.taken += 1
            if not request.left:
                self._waiting.popleft()
        return batch

    def _on_done(
        self, batch: Sequence[tuple["_Request[Item, Result]", int]], computing: asyncio.Future[Sequence[Result]]
    ) -> None:
        self._free += 1
        if computing.cancelled():
            return
        error = computing.exception()
        for number, (request, position) in enumerate(batch):
            if error:  # reported by each request of the batch
                request.fail(error)
            else:
                request.put(position, computing.result()[number])
        self._dispatch()


class _Request(Generic[Item, Result]):
    """The images of one request, and their results as they arrive."""

    def __init__(self, images: Sequence[Item], answer: asyncio.Future[list[Result]], due: float) -> None:
        self.images, self.answer, self.due = images, answer, due
        self.taken = 0
        self._results: dict[int, Result] = {}  # by position

    @property
    def left(self) -> int:
        """Number of images that still wait; 0 after the client has disconnected."""
        return 0 if self.answer.done() else len(self.images) - self.taken

    def put(self, position: int, result: Result) -> None:
        self._results[position] = result
        if len(self._results) == len(self.images) and not self.answer.done():
            self.answer.set_result([self._results[position] for position in range(len(self.images))])

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
