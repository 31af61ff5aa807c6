"""Requests that arrive together go through the network together: a bounded queue, a bounded wait."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.problems import busy

Pixels = NDArray[np.uint8]
Predict = Callable[[Sequence[Pixels]], NDArray[np.float32]]
Waiting = tuple[Sequence[Pixels], asyncio.Future[NDArray[np.float32]]]
T = TypeVar("T")


class Batcher:
    """The one thread that the network runs in, and the pictures that wait for it.

    Pictures are *admitted* when a request was read, and *ready* when they are decoded. A batch leaves, with all that
    are ready, when these are enough to keep the cores full (the network must not stand still for more), when every
    admitted picture is ready (a lone client never waits for others), or when the first has waited for
    ``limits.wait_seconds``.

    Parameters
    ----------
    predict : callable
        Pictures (H, W) or (H, W, 3) to probabilities (N, classes).
    limits : Limits
    metrics : Metrics
    """

    def __init__(self, predict: Predict, limits: Limits, metrics: Metrics) -> None:
        self._predict, self._limits, self._metrics = predict, limits, metrics
        self._thread = ThreadPoolExecutor(1, "frostline-network")
        self._ready: deque[Waiting] = deque()
        self._admitted = 0  # pictures
        self._changed = asyncio.Event()

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
            self._changed.set()

    def _admit(self, count: int) -> None:
        self._admitted += count
        self._metrics.waiting.set(self._admitted)

    async def predict(self, pictures: Sequence[Pixels]) -> NDArray[np.float32]:
        """Return the probabilities (N, classes) of admitted pictures; cancelling it costs no network time."""
        future: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._ready.append((pictures, future))
        self._changed.set()
        return await future

    async def alone(self, work: Callable[[], T]) -> T:
        """Do something else with the network, between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await self._collect()
                await self._work(self._take())
        finally:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _collect(self) -> None:
        while not self._ready:
            self._changed.clear()
            await self._changed.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.wait_seconds):
                while (count := self._count_ready()) < self._limits.enough and count < self._admitted:
                    self._changed.clear()
                    await self._changed.wait()

    def _count_ready(self) -> int:
        return sum(len(pictures) for pictures, _ in self._ready)

    def _take(self) -> list[Waiting]:
        """Return the next batch: whole requests, as many as fit, without those whose client has gone."""
        batch: list[Waiting] = []
        count = 0
        while self._ready and (not batch or count + len(self._ready[0][0]) <= self._limits.batch):
            pictures, future = self._ready.popleft()
            if not future.done():
                batch.append((pictures, future))
                count += len(pictures)
        return batch

    async def _work(self, batch: list[Waiting]) -> None:
        together = [picture for pictures, _ in batch for picture in pictures]
        if not together:
            return
        self._metrics.batch.observe(len(together))
        try:
            rows = await self.alone(lambda: self._predict(together))
        except Exception as error:  # each request reports it; the next batch is another
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for pictures, future in batch:
            if not future.done():
                future.set_result(rows[start : start + len(pictures)])
            start += len(pictures)
