"""The command line in a process of its own, forked from one that has imported everything: a start costs no import.

What the installed script does besides is tested where it matters: `test_train.py`, `test_main.py`, `test_kill.py`.
"""

import multiprocessing
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

import coverage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    # First what PYTHONPATH brings to other processes: the server may start before a test has set it. Then what commands
    # are unpickled from.
    ["tests.torchvision_operators.sitecustomize", "tests.conftest",
     "frostline.cli.main", "frostline.runs.fit", "frostline.inference.classifier", "frostline.studies.learning_curve",
     "tools.pretraining.train", "sklearn.metrics", "sklearn.linear_model", "matplotlib.backends.backend_agg",
     "frostline.report.page", "jinja2", "matplotlib.backends.backend_svg", "sklearn.manifold",
     "torch._dynamo", "matplotlib.figure", "captum.attr"]  # what torch and frostline import when first needed
)  # fmt: skip


Within = Callable[[], AbstractContextManager[None]]
Program = Callable[[list[str]], int]
Work = Callable[[], int]  # what a process does; its exit code


@contextmanager
def measured() -> Iterator[None]:
    """Save what coverage saw of a forked process, which ends without a last word."""
    try:
        yield
    finally:
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.stop()
            measuring.save()


@contextmanager
def lacking(package: str) -> Iterator[None]:
    """A package is not installed, until this process ends."""
    for name in [package, *sys.modules]:
        if name.partition(".")[0] == package:
            sys.modules[name] = None  # type: ignore[assignment]  # what `import` takes for a refusal
    yield


def run_forked(
    arguments: Sequence[object],
    folder: Path,
    env: dict[str, str],
    timeout: float,
    *,
    within: Within = nullcontext,
    program: Program | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder, within surroundings made by a callable; return what came back.

    ``program`` takes the place of the command line.

    Raises
    ------
    subprocess.TimeoutExpired
        After killing it.
    """
    words = [str(argument) for argument in arguments]
    return _run(partial(program or run_command, words), words, folder, env, timeout, within)


def run_snippet(
    code: str, folder: Path, env: dict[str, str], timeout: float, *, within: Within = nullcontext
) -> subprocess.CompletedProcess[str]:
    """Run Python code as a program in a folder, within surroundings made by a callable; return what came back.

    Raises
    ------
    subprocess.TimeoutExpired
        After killing it.
    """
    return _run(partial(_snippet, code), ["python", "-c", code], folder, env, timeout, within)


def _run(
    work: Work, words: list[str], folder: Path, env: dict[str, str], timeout: float, within: Within
) -> subprocess.CompletedProcess[str]:
    streams = [folder.with_name(f"{folder.name}.{name}") for name in ("stdout", "stderr")]
    process = PROCESSES.Process(target=run_in_fork, args=(work, folder, env, streams, within))
    process.start()
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise subprocess.TimeoutExpired(words, timeout)
    code = process.exitcode
    process.close()
    output, errors = (path.read_text(encoding="utf-8") for path in streams)
    assert code is not None
    return subprocess.CompletedProcess(words, code, output, errors)


@contextmanager
def started(arguments: Sequence[object], folder: Path, env: dict[str, str]) -> Iterator[tuple[BaseProcess, TextIO]]:
    """Start one command in a folder; yield the process and what it says, line by line. It has ended afterwards."""
    here, there = multiprocessing.Pipe(False)
    words = [str(argument) for argument in arguments]
    work = partial(run_command, words)
    process = PROCESSES.Process(target=run_in_fork, args=(work, folder, env, [there, there], nullcontext))
    process.start()
    there.close()
    with here, os.fdopen(os.dup(here.fileno()), encoding="utf-8") as said:
        yield process, said
    process.join()


def run_command(words: list[str]) -> int:
    """Run a command in this process; return its exit code."""
    from frostline.cli.main import run

    return run(words)


def _snippet(code: str) -> int:
    exec(compile(code, "<snippet>", "exec"), {"__name__": "__main__"})
    return 0


def run_in_fork(
    work: Work, folder: Path, env: dict[str, str], streams: list[Path] | list[Connection], within: Within
) -> None:
    """Do the work of a process that has just been forked, in its own surroundings, and end it."""
    for number, place in enumerate(streams, 1):
        new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND  # both streams may be one file
        os.dup2(place.fileno() if isinstance(place, Connection) else os.open(place, new), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8") for number in (1, 2))  # line by line
    sys.modules["__main__"] = types.ModuleType("__main__")  # processes of its own must not import the test runner
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    with measured():
        try:
            with within():
                code = work()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
    sys.exit(code)
