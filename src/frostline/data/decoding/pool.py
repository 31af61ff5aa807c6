"""Pool of decoding processes: a hostile image can end its process, and only that image is lost.

A file of a few kilobytes can keep a decoder busy for minutes, exhaust the memory or crash it. So images are decoded in
separate processes (`frostline.data.decoding.worker`) with a limit on processor time and memory for each image. The
processes load no torch, ignore Ctrl-C, run at a lower priority than the network, and stay alive for a while to be
reused by the next data set.
"""

import atexit
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, TypeVar, cast

from frostline._utils.machine import cores
from frostline.data.decoding.file_checks import BUDGET, Budget
from frostline.data.decoding.worker import HAS_CLOCK, START_AGAIN, WorkerReply
from frostline.errors import DataError

NICENESS = 10  # at equal priority the network would wait for its slowest thread at every layer
IDLE_SECONDS = 60.0  # after which an unused process ends
MIN_WAITING = 8  # images per process that must wait before another process is started, which takes 0.25 s
WALL_CLOCK_FACTOR = 3  # wall-clock limit relative to the limit of processor time
PIPE_BYTES = 1 << 20  # Linux: an image fits, so a process can continue before its reply is read
# One thread each: the processes run in parallel, and a thread's stack counts as memory in use.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
PROGRAM = (
    "import sys; sys.path[:] = {path}; from frostline.data.decoding.worker import main; "
    "main(parent={parent}, niceness={nice})"
)

Item = TypeVar("Item")
Result = TypeVar("Result")
Lost = Callable[[Item, str], Result]


def refuse(item: object, reason: str) -> NoReturn:
    """Raise the error for an item that ended its process: the default of `Workers.map`."""
    raise DataError(f"{'the image' if isinstance(item, bytes) else item} {reason}.")


class Workers:
    """Decoding processes, started on demand; all `Workers` with the same count share them.

    Parameters
    ----------
    count : int, optional
        Number of processes. Default: one per core.
    eager : bool
        Start another process as soon as anything waits, not only where it pays off: for a server.
    """

    def __init__(self, count: int | None = None, *, eager: bool = False) -> None:
        self._count, self._closed = count or cores(), False
        self._min_waiting = 0 if eager else MIN_WAITING

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop tasks that have not started. The processes stay available for a minute."""
        self._closed = True

    def map(
        self,
        work: Callable[[Item], Result],
        items: Sequence[Item],
        at_once: int = 1,
        *,
        budget: Budget = BUDGET,
        lost: Lost[Item, Result] = refuse,
    ) -> Iterator[Result]:
        """Start on all items at once; yield the results in order as they become ready.

        Parameters
        ----------
        work : callable
            From a module that loads no torch.
        items : sequence
        at_once : int
            Number of items per task.
        budget : Budget
            Limits for each item.
        lost : callable
            Returns the result for an item that exceeded the limits or crashed its process, from the item and the
            reason. Default: raises a ``DataError``.

        Raises
        ------
        DataError
            When no process can be started, and from ``lost``.
        """
        chunks = [items[start : start + at_once] for start in range(0, len(items), at_once)]
        return _in_order([(chunk, self._submit(work, chunk, budget)) for chunk in chunks], lost)

    def submit(
        self,
        work: Callable[[Item], Result],
        item: Item,
        *,
        budget: Budget = BUDGET,
        lost: Lost[Item, Result] = refuse,
    ) -> "Future[Result]":
        """Start on one item; the future can be canceled until a process takes it. See `map`."""
        outer: Future[Result] = Future()
        inner = self._submit(work, [item], budget)

        def set_result(done: "Future[list[_Reply]]") -> None:
            if done.cancelled():
                outer.cancel()
            if not outer.set_running_or_notify_cancel():
                return
            try:
                outer.set_result(_value(item, done.result()[0], lost))
            except BaseException as error:
                outer.set_exception(error)

        def cancel_inner(done: "Future[Result]") -> None:
            if done.cancelled():
                inner.cancel()

        inner.add_done_callback(set_result)
        outer.add_done_callback(cancel_inner)
        return outer

    def _submit(self, work: Callable[[Any], Any], items: Sequence[Any], budget: Budget) -> "Future[list[_Reply]]":
        job = _Job(Future(), lambda: self._closed, work, items, budget, self._min_waiting)
        _shared_pool(self._count).add(job)
        return job.future


class _Reply(NamedTuple):
    kind: int
    value: Any


class _Job(NamedTuple):
    future: "Future[list[_Reply]]"
    is_dropped: Callable[[], bool]
    work: Callable[[Any], Any]
    items: Sequence[Any]
    budget: Budget
    min_waiting: int  # items per process that must wait before another process is started


def _in_order(
    chunks: "Sequence[tuple[Sequence[Item], Future[list[_Reply]]]]", lost: Lost[Item, Result]
) -> Iterator[Result]:
    try:
        for items, future in chunks:
            for item, reply in zip(items, future.result(), strict=True):
                yield _value(item, reply, lost)
    finally:  # the caller may stop early
        for _, future in chunks:
            future.cancel()


def _value(item: Item, reply: _Reply, lost: Lost[Item, Result]) -> Result:
    if reply.kind == WorkerReply.EXCEPTION:
        raise reply.value
    result: Result = lost(item, reply.value) if reply.kind == WorkerReply.REASON else reply.value
    return result


class _Pool:
    """Threads that own one process each, and the queue of jobs."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._idle = self._threads = 0

    def add(self, job: _Job) -> None:
        with self._changed:
            self._jobs.append(job)
            if self._lacks_a_process():
                self._threads += 1
                threading.Thread(target=self._work, name="frostline decoding", daemon=True).start()
            self._changed.notify()

    def _lacks_a_process(self) -> bool:
        if self._threads == self._count or self._idle >= len(self._jobs):
            return False
        waiting = sum(len(job.items) for job in self._jobs)
        return not self._threads or waiting > self._jobs[-1].min_waiting * self._threads

    def _work(self) -> None:
        process = _Process()
        try:
            while (job := self._next()) is not None:
                if job.is_dropped():
                    job.future.cancel()
                if not job.future.set_running_or_notify_cancel():
                    continue
                try:
                    job.future.set_result(process.do(job))
                except Exception as error:
                    job.future.set_exception(error)
        finally:
            process.end()

    def _next(self) -> _Job | None:
        """Return the next job; ``None`` after a while without one, to end the thread."""
        with self._changed:
            self._idle += 1
            try:
                self._changed.wait_for(lambda: self._jobs, IDLE_SECONDS)
            finally:
                self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads -= 1
            return None


class _Process:
    """A decoding process, started on first use and again whenever it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def do(self, job: _Job) -> list[_Reply]:
        """Return a reply for every item, even if some of them end the process."""
        replies: list[_Reply] = []
        separately = second_try = False
        while len(replies) < len(job.items):
            before = len(replies)
            left = job.items[before:]
            separately = separately or len(left) == 1 or not HAS_CLOCK
            try:
                for reply in self._ask(job, left, separately=separately):
                    replies.append(reply)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                if not separately and self._process is not None:  # separate replies show which item it was
                    self.end()
                    separately = True
                    continue
                second_try = second_try and len(replies) == before
                reason = self._reason(job.budget, error, second_try=second_try)
                if reason is None:
                    second_try = True
                else:
                    replies.append(_Reply(WorkerReply.REASON, reason))
                    second_try = False
        return replies

    def _ask(self, job: _Job, items: Sequence[Any], *, separately: bool) -> Iterator[_Reply]:
        process = self._process = self._process or _start()
        inbox, outbox = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        chunk = (_folder(), job.budget, job.work, items, separately)
        inbox.write(pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL))
        inbox.flush()
        for _ in items:
            with _deadline(process, job.budget):
                reply = pickle.load(outbox)  # noqa: S301  (our own process)
            yield _Reply(*reply)

    def _reason(self, budget: Budget, error: Exception, *, second_try: bool) -> str | None:
        """Return why the item was lost; ``None`` when it should be tried again in a new process."""
        if self._process is None:
            raise DataError(f"no process can be started to decode images: {error}.") from error
        status = self.end()
        if isinstance(error, TimeoutError) or (HAS_CLOCK and status == -signal.SIGPROF):
            return budget.too_slow
        if not second_try:
            return None
        if HAS_CLOCK and status == -signal.SIGKILL:  # not by us: the kernel kills when memory runs out
            raise DataError("a process that decodes images was killed (out of memory?): use fewer with --workers.")
        if status == START_AGAIN:
            return budget.too_large
        return "makes the decoder crash"

    def end(self) -> int | None:
        """End the process; return its exit status."""
        process, self._process = self._process, None
        if process is None:
            return None
        status = _stopped(process)
        _running.discard(process)
        return status


_starting = threading.Lock()
_pools: dict[int, _Pool] = {}
_running: set["subprocess.Popen[bytes]"] = set()
_of_parent: list[object] = []  # after a fork: never closed, since a thread that no longer exists may hold their locks


def _shared_pool(count: int) -> _Pool:
    with _starting:
        return _pools.setdefault(count, _Pool(count))


def _start() -> "subprocess.Popen[bytes]":
    program = PROGRAM.format(path=ascii(sys.path), parent=os.getpid(), nice=NICENESS)
    with _starting, _without_interrupts():
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", program],  # -S: its path is passed, and `site` would only take time
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **ENVIRONMENT},
        )
        _running.add(process)
    _widen(process.stdout)
    return process


def _widen(pipe: IO[bytes] | None) -> None:
    if sys.platform == "linux" and pipe is not None:
        import fcntl

        with suppress(OSError):  # the system limits pipe memory per user
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _folder() -> str | None:
    """Return the current folder, for relative paths; ``None`` when it was removed."""
    try:
        return str(Path.cwd())
    except OSError:
        return None


def _stopped(process: "subprocess.Popen[bytes]") -> int:
    """Return the exit status of a process, killing it if it is still running."""
    try:
        status = process.wait(0.2)  # its pipe closes shortly before it ends
    except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # unsent data
            if pipe is not None:
                pipe.close()
    return status


@contextmanager
def _deadline(process: "subprocess.Popen[bytes]", budget: Budget) -> Iterator[None]:
    """Limit the wall-clock time of a process that cannot measure its own processor time."""
    if HAS_CLOCK:
        yield
        return
    overdue = threading.Event()

    def stop() -> None:
        overdue.set()
        process.kill()

    timer = threading.Timer(WALL_CLOCK_FACTOR * budget.seconds, stop)
    timer.start()
    try:
        yield
    except EOFError as error:
        raise TimeoutError if overdue.is_set() else error from error
    finally:
        timer.cancel()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Block Ctrl-C while a process is being started: only this process handles it."""
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_all() -> None:
    _starting.acquire()  # never released: no process may start from now on
    ended = list(_running)
    for process in ended:
        process.kill()
    for process in ended:
        process.wait()


def _forget_after_fork() -> None:
    _of_parent.extend([*_pools.values(), *_running])
    _pools.clear()
    _running.clear()
    _starting.release()


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_starting.acquire, after_in_parent=_starting.release, after_in_child=_forget_after_fork)
