"""Main loop of a decoding process. It loads no torch, and ends with the process that started it.

Messages are pickles. It reads chunks ``(folder, budget, work, items, separately)`` from standard input, and writes one
``(WorkerReply, value)`` per item to standard output: together at the end of the chunk, which costs less, or
``separately``, so that the parent knows the current item when this process ends.
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
START_AGAIN = 75  # exit status: out of memory, possibly because earlier images fragmented it
PR_SET_PDEATHSIG = 1


class WorkerReply(IntEnum):
    """Type of a reply."""

    RESULT = 0
    EXCEPTION = 1
    REASON = 2  # why there is no result: a message of the budget


def main(parent: int, niceness: int) -> None:
    """Process chunks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the parent
    _end_with(parent)
    if niceness and hasattr(os, "nice"):
        os.nice(niceness)
    inbox, outbox = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of a decoder must not mix with the replies
    if HAS_CLOCK:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process even inside C code
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})

    import frostline.data.scan_file  # noqa: F401  (all decoders, before their memory is measured)

    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = _memory_in_use()
    first = True
    while True:
        try:
            folder, budget, work, items, separately = pickle.load(inbox)  # noqa: S301  (from the parent)
        except EOFError:
            return
        except MemoryError:
            os._exit(START_AGAIN)
        if folder is not None and folder != _current_folder():
            os.chdir(folder)
        _limit_memory(memory, budget.memory)
        for number, item in enumerate(items, 1):
            kind, value = _run(work, item, budget)
            if kind == WorkerReply.REASON and not first:
                os._exit(START_AGAIN)
            first = False
            _write(outbox, kind, value, flush=separately or number == len(items))


def _run(work: Any, item: Any, budget: Budget) -> tuple[WorkerReply, Any]:
    if HAS_CLOCK:
        signal.setitimer(signal.ITIMER_PROF, budget.seconds)
    try:
        return WorkerReply.RESULT, work(item)
    except MemoryError:
        return WorkerReply.REASON, budget.too_large
    except Exception as error:
        if not isinstance(error, FrostlineError):
            error.add_note("".join(traceback.format_exception(error)))  # a traceback cannot be pickled
        return WorkerReply.EXCEPTION, error
    finally:
        if HAS_CLOCK:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _write(outbox: BinaryIO, kind: WorkerReply, value: Any, *, flush: bool) -> None:
    try:
        outbox.write(pickle.dumps((int(kind), value), pickle.HIGHEST_PROTOCOL))
        if flush:
            outbox.flush()
    except BrokenPipeError:  # the parent stopped reading
        os._exit(0)


def _current_folder() -> str | None:
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _end_with(parent: int) -> None:
    """End together with the parent when that is killed; on other systems than Linux, after the current image."""
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(0)


def _memory_in_use() -> int | None:
    """Return the memory that the kernel compares with RLIMIT_DATA; ``None`` where it is not reported."""
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
