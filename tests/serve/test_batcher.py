"""Batching of concurrent requests."""

import asyncio
import threading

import pytest

from frostline.serve.batcher import Batcher
from frostline.serve.limits import Limits
from frostline.serve.metrics import Metrics
from frostline.serve.schemas import ProblemError


class Network:
    """Multiplies numbers by ten; records its batches, and waits for ``go``."""

    def __init__(self):
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, batch):
        self.batches.append(list(batch))
        assert self.go.wait(10)
        if 13 in batch:
            raise ArithmeticError
        return [10 * number for number in batch]


async def ask(batcher, *numbers):
    with batcher.admit(len(numbers)):
        return await batcher.classify(numbers)


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


def test_free_threads_share_one_request_and_results_are_in_order():
    network = Network()
    network.go.clear()

    async def work(batcher):
        asking = asyncio.create_task(ask(batcher, *range(7)))
        await until(lambda: len(network.batches) == 2)  # both wait: they compute at the same time
        network.go.set()
        return await asking

    assert run(network, work, threads=2) == [10 * number for number in range(7)]
    assert sorted(network.batches) == [[0, 1, 2, 3], [4, 5, 6]]


def test_waiting_requests_form_batches_of_the_largest_size():
    network = Network()
    network.go.clear()

    async def work(batcher):
        first = asyncio.create_task(ask(batcher, 1))
        await until(lambda: network.batches)
        others = [asyncio.create_task(ask(batcher, 10 + n, 20 + n)) for n in range(3)]
        await asyncio.sleep(0)
        network.go.set()
        return await first, await asyncio.gather(*others)

    assert run(network, work, batch=4) == ([10], [[100, 200], [110, 210], [120, 220]])
    assert network.batches == [[1], [10, 20, 11, 21], [12, 22]]


async def in_turn(batcher, network, *numbers):
    """Send one image after the other, each as soon as the previous one is being computed."""
    asking = []
    for number in numbers:
        asking.append(asyncio.create_task(ask(batcher, number)))
        await until(lambda number=number: [number] in network.batches)
    return asking


def test_small_batches_wait_briefly_while_many_images_are_admitted():
    network = Network()
    network.go.clear()

    async def work(batcher):
        many = await in_turn(batcher, network, 1, 2)
        last = asyncio.create_task(ask(batcher, 3))
        await asyncio.sleep(0.1)
        assert len(network.batches) == 2  # a thread is free, and it waits
        await until(lambda: len(network.batches) == 3)
        network.go.set()
        return await asyncio.gather(*many, last)

    assert run(network, work, threads=3, min_batch=3, wait_seconds=1.5) == [[10], [20], [30]]


def test_large_enough_batches_start_immediately():
    network = Network()
    network.go.clear()

    async def work(batcher):
        many = await in_turn(batcher, network, 1, 2)
        last = [asyncio.create_task(ask(batcher, number)) for number in (3, 4, 5)]
        await until(lambda: len(network.batches) == 3)
        network.go.set()
        return await asyncio.gather(*many, *last)

    assert run(network, work, threads=3, min_batch=3, wait_seconds=60.0) == [[10], [20], [30], [40], [50]]
    assert network.batches == [[1], [2], [3, 4, 5]]


def test_no_batch_waits_while_few_images_are_admitted():
    network = Network()
    network.go.clear()

    async def work(batcher):
        asking = await in_turn(batcher, network, 1, 2)
        network.go.set()
        return await asyncio.gather(*asking)

    assert run(network, work, threads=3, min_batch=3, wait_seconds=60.0) == [[10], [20]]


def test_a_failure_affects_only_the_requests_of_its_batch():
    network = Network()

    async def work(batcher):
        return await asyncio.gather(ask(batcher, 13), ask(batcher, 1), return_exceptions=True)

    failed, answered = run(network, work, batch=1)
    assert isinstance(failed, ArithmeticError) and answered == [10]


def test_images_of_disconnected_clients_are_not_computed():
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

    assert run(network, work) == ([10], [30])
    assert network.batches == [[1], [3]]


def test_a_full_queue_refuses_images_until_places_are_free():
    network = Network()

    async def work(batcher):
        with batcher.admit(3), pytest.raises(ProblemError) as full:
            await ask(batcher, 1, 2)
        assert full.value.status == 503
        return await ask(batcher, 1, 2)

    assert run(network, work, queue=4) == [10, 20]
