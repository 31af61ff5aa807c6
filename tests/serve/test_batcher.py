"""Batches: how pictures are put together, shared among threads and given back."""

import asyncio
import threading

import numpy as np
import pytest

from frostline.serve.batcher import Batcher
from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.problems import ProblemError


def pictures(*values):
    return [np.full((2, 2), value, np.uint8) for value in values]


class Network:
    """Gives each picture its own value; keeps what it was given, and waits for ``go``."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, batch):
        values = [int(picture[0, 0]) for picture in batch]
        self.batches.append(values)
        assert self.go.wait(10)
        if 13 in values:
            raise ArithmeticError
        return np.array(values, np.float32)[:, None]


async def ask(batcher, *values):
    with batcher.admit(len(values)):
        rows = await batcher.predict(pictures(*values))
    return rows[:, 0].astype(int).tolist()


def run(network, work, threads=1, **limits):
    async def inside():
        batcher = Batcher(network, Limits(**limits), Metrics(), threads)
        try:
            return await asyncio.wait_for(work(batcher), 20)
        finally:
            network.go.set()
            batcher.close()

    return asyncio.run(inside())


async def until(true):
    while not true():
        await asyncio.sleep(0.001)


def test_free_threads_share_one_request_and_its_rows_stand_in_order():
    network = Network()
    network.go.clear()

    async def work(batcher):
        asking = asyncio.create_task(ask(batcher, *range(7)))
        await until(lambda: len(network.batches) == 2)  # both wait: they compute at the same time
        network.go.set()
        return await asking

    assert run(network, work, threads=2) == list(range(7))
    assert sorted(network.batches) == [[0, 1, 2, 3], [4, 5, 6]]


def test_requests_that_came_meanwhile_leave_together_in_batches_of_the_most():
    network = Network()
    network.go.clear()

    async def work(batcher):
        first = asyncio.create_task(ask(batcher, 1))
        await until(lambda: network.batches)
        others = [asyncio.create_task(ask(batcher, 10 + n, 20 + n)) for n in range(4) if n != 3]
        await asyncio.sleep(0)
        network.go.set()
        return await first, await asyncio.gather(*others)

    assert run(network, work, batch=4) == ([1], [[10, 20], [11, 21], [12, 22]])
    assert network.batches == [[1], [10, 20, 11, 21], [12, 22]]


def test_a_batch_waits_for_pictures_that_are_being_decoded_but_not_for_long():
    network = Network()

    async def work(batcher):
        loop = asyncio.get_running_loop()
        with batcher.admit(1):  # one that does not become ready
            begun = loop.time()
            assert await ask(batcher, 5) == [5]
            waited = loop.time() - begun
        begun = loop.time()
        assert await ask(batcher, 6) == [6]
        return waited, loop.time() - begun

    waited, alone = run(network, work, wait_seconds=0.5)
    assert waited >= 0.5 > alone


def test_enough_pictures_wait_for_no_others():
    network = Network()

    async def work(batcher):
        with batcher.admit(1):
            return await asyncio.gather(ask(batcher, 1, 2), ask(batcher, 3, 4))

    assert run(network, work, wait_seconds=60.0, enough=4) == [[1, 2], [3, 4]]
    assert network.batches == [[1, 2, 3, 4]]


def test_a_failure_is_that_of_the_requests_it_met():
    network = Network()

    async def work(batcher):
        return await asyncio.gather(ask(batcher, 13), ask(batcher, 1), return_exceptions=True)

    failed, answered = run(network, work, batch=1)
    assert isinstance(failed, ArithmeticError) and answered == [1]


def test_a_client_that_went_away_costs_no_computing():
    network = Network()
    network.go.clear()

    async def work(batcher):
        first = asyncio.create_task(ask(batcher, 1))
        await until(lambda: network.batches)
        gone, third = asyncio.create_task(ask(batcher, 2)), asyncio.create_task(ask(batcher, 3))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        network.go.set()
        return await first, await third

    assert run(network, work) == ([1], [3])
    assert network.batches == [[1], [3]]


def test_more_pictures_than_places_are_refused_and_places_come_free():
    network = Network()

    async def work(batcher):
        with batcher.admit(3), pytest.raises(ProblemError) as full:
            await ask(batcher, 1, 2)
        assert full.value.status == 503
        return await ask(batcher, 1, 2)

    assert run(network, work, queue=4) == [1, 2]
