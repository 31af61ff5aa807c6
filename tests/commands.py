"""The command line in a process of its own, forked from one that has imported everything: a start costs no import.

What the installed script does besides is tested where it matters: `test_kill.py`, `test_main.py`, `test_readme.py`.
"""

import multiprocessing
import os
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path

import coverage

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["frostline.cli.main", "frostline.runs.fit", "frostline.runs.predict", "frostline.experiments.curve",
     "frostline.pretrain.train", "sklearn.metrics", "sklearn.linear_model", "matplotlib.backends.backend_agg",
     "frostline.report.page", "jinja2", "matplotlib.backends.backend_svg", "sklearn.manifold"]
)  # fmt: skip
KILLED = -9


def run_forked(
    arguments: Sequence[object], folder: Path, env: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run one command in a folder and return what came back.

    Raises
    ------
    subprocess.TimeoutExpired
        After killing it.
    """
    words = [str(argument) for argument in arguments]
    streams = [folder.with_name(f"{folder.name}.{name}") for name in ("stdout", "stderr")]
    process = PROCESSES.Process(target=_command, args=(words, folder, env, streams))
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


def _command(words: list[str], folder: Path, env: dict[str, str], streams: list[Path]) -> None:
    from frostline.cli.main import run

    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", encoding="utf-8") for number in (1, 2))
    sys.modules["__main__"] = types.ModuleType("__main__")  # processes of its own must not import the test runner
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    try:
        code = run(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        measuring = coverage.Coverage.current()
        if measuring is not None:
            measuring.stop()
            measuring.save()
    sys.exit(code)
