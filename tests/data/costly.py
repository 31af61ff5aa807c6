"""Work for decoding processes that exceeds their limits, or ends them; it must load no torch."""

import os
import signal
from collections.abc import Callable


def process(_: object) -> int:
    return os.getpid()


def spin(_: object) -> None:
    while True:
        pass


def crash(_: object) -> None:
    signal.raise_signal(signal.SIGSEGV)


def fill(_: object) -> int:
    return len(bytearray(80_000_000))


def divide(number: int) -> float:
    return 1 / number


def zeros(count: int) -> bytes:
    return bytes(count)


def call(pair: tuple[Callable[[object], object], object]) -> object:
    work, item = pair
    return work(item)
