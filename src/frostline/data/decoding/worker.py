"""The process that decodes images for another one: it runs out of its budget, or crashes, alone.

Messages are pickles. On standard input come chunks ``(folder, budget, work, items, separately)``, on standard output
goes one ``(WorkerReply, value)`` for each item: together when the chunk is done, which costs less, or ``separately`` as
soon as each is done, so that the other side knows which item was worked on when this process ends. It loads no torch
and ends with the process that started it.
"""

import os
import pickle
import signal
import sys
import traceback
from enum import IntEnum
from pathlib import Path
from typing import Any, BinaryIO

from frostline.data.decoding.file_checks import Budget
from frostline.errors import FrostlineError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

HAS_CLOCK = hasattr(signal, "setitimer")
START_AGAIN = 75  # exit status: memory ended, but earlier images may have left it in pieces
PR_SET_PDEATHSIG = 1


class WorkerReply(IntEnum):
    """What a value is that comes back."""

    RESULT = 0
    EXCEPTION = 1
    REASON = 2  # why there is none: the budget's words


def main(parent: int, niceness: int) -> None:
    """Answer until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    _end_with(parent)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    inbox, outbox = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a decoder that prints must not come between the answers
    if HAS_CLOCK:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, whatever C code it is in
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})

    import frostline.data.scan_file  # noqa: F401  (all that is needed to decode; what it takes is not the images')

    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = _memory_in_use()
    first = True
    while True:
        try:
            folder, budget, work, items, separately = pickle.load(inbox)  # noqa: S301  (from the process that started this one)
        except EOFError:
            return
        except MemoryError:
            os._exit(START_AGAIN)
        if folder is not None and folder != _here():
            os.chdir(folder)
        _limit_memory(memory, budget.memory)
        for number, item in enumerate(items, 1):
            kind, value = _answer(work, item, budget)
            if kind == WorkerReply.REASON and not first:
                os._exit(START_AGAIN)
            first = False
            _write(outbox, kind, value, flush=separately or number == len(items))


def _answer(work: Any, item: Any, budget: Budget) -> tuple[WorkerReply, Any]:
    if HAS_CLOCK:
        signal.setitimer(signal.ITIMER_PROF, budget.seconds)
    try:
        return WorkerReply.RESULT, work(item)
    except MemoryError:
        return WorkerReply.REASON, budget.too_large
    except Exception as error:
        if not isinstance(error, FrostlineError):
            error.add_note("".join(traceback.format_exception(error)))  # which cannot be pickled
        return WorkerReply.EXCEPTION, error
    finally:
        if HAS_CLOCK:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _write(outbox: BinaryIO, kind: WorkerReply, value: Any, *, flush: bool) -> None:
    try:
        outbox.write(pickle.dumps((int(kind), value), pickle.HIGHEST_PROTOCOL))
        if flush:
            outbox.flush()
    except BrokenPipeError:  # nobody waits any more
        os._exit(0)


def _here() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _end_with(parent: int) -> None:
    """End at once when the process that started this one is killed; without Linux, after the image at hand."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was quicker
        os._exit(0)


def _memory_in_use() -> int | None:
    """Return what the kernel compares with RLIMIT_DATA; ``None`` where it says nothing of that."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:")), None)


def _limit_memory(before: int | None, budget: int) -> None:
    if resource is None or before is None:
        return
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = before + budget
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
