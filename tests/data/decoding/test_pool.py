"""Decoding processes: results in order, limits for each image, no process left over."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from frostline.data.decoding.file_checks import Budget
from frostline.data.decoding.pool import NICENESS, Workers
from frostline.errors import DataError
from tests.data import costly

QUICK = Budget(seconds=0.2, memory=50_000_000)
ORPHANS = """
import sys, threading, time
from frostline.data.decoding.pool import Workers
from tests.data import costly
workers = Workers(2)
print(*{workers.submit(costly.process, None).result() for _ in range(3)}, flush=True)
print(workers.submit(costly.process, None).result(), flush=True)
busy = [workers.submit(costly.spin, None) for _ in range(2)]
time.sleep(60)
"""


def reason(item: object, why: str) -> tuple[object, str]:
    return item, why


def test_results_come_in_the_order_of_the_items() -> None:
    with Workers(2) as workers:
        begun = [workers.map(abs, range(-start, 0), at_once=3) for start in (20, 7)]
        assert list(begun[1]) == list(range(7, 0, -1))
        assert list(begun[0]) == list(range(20, 0, -1))


def test_images_are_decoded_by_other_processes_that_give_way() -> None:
    with Workers(2) as workers:
        assert os.getpid() not in set(workers.map(costly.process, [None] * 4))
        assert list(workers.map(os.nice, [0, 0])) == [min(19, os.nice(0) + NICENESS)] * 2


def test_processes_are_kept_for_the_next_data_set() -> None:
    with Workers(1) as first:
        (process,) = first.map(costly.process, [None])
    with Workers(1) as second:
        assert list(second.map(costly.process, [None])) == [process]


def test_each_image_that_goes_over_its_budget_is_lost_alone() -> None:
    work = [abs, costly.spin, abs, costly.crash, costly.spin, costly.fill, abs]
    with Workers(1) as workers:
        found = list(workers.map(costly.call, [(one, -3) for one in work], 7, budget=QUICK, lost=reason))
    reasons = [answer if answer == 3 else answer[1] for answer in found]
    slow = "takes more than 0.2 s to decode"
    large = "needs more than 50 MB of memory to decode"
    assert reasons == [3, slow, 3, "makes the decoder crash", slow, large, 3]


def test_what_is_lost_is_an_error_that_names_the_file() -> None:
    with Workers(1) as workers, pytest.raises(DataError, match=r"^a\.png takes more than 0\.2 s to decode\.$"):
        list(workers.map(costly.spin, [Path("a.png")], budget=QUICK))


def test_an_error_of_the_work_is_raised_and_the_process_goes_on() -> None:
    with Workers(1) as workers:
        (process,) = workers.map(costly.process, [None])
        with pytest.raises(ZeroDivisionError):
            list(workers.map(costly.divide, [1, 0]))
        assert list(workers.map(costly.process, [None])) == [process]


def test_a_process_that_was_killed_meanwhile_costs_nothing() -> None:
    with Workers(1) as workers:
        (process,) = workers.map(costly.process, [None])
        os.kill(process, signal.SIGKILL)
        assert list(workers.map(abs, [-1, -2], 2)) == [1, 2]


def test_images_that_the_system_kills_for_are_one_clear_line() -> None:
    with Workers(1) as workers, pytest.raises(DataError, match=r"killed \(out of memory\?\).*--workers"):
        list(workers.map(signal.raise_signal, [signal.SIGKILL] * 3))


def test_large_answers_and_large_questions_pass() -> None:
    with Workers(2) as workers:
        found = list(workers.map(costly.zeros, [3_000_000, 10] * 5, 5))
        assert [len(one) for one in found] == [3_000_000, 10] * 5
        assert list(workers.map(len, [bytes(20_000_000), b"ab"])) == [20_000_000, 2]


def test_relative_paths_follow_the_folder_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workers(1) as workers:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            assert list(workers.map(os.path.abspath, ["x"])) == [str(tmp_path / name / "x")]


def test_what_was_not_begun_is_canceled() -> None:
    with Workers(1) as workers:
        busy = workers.submit(time.sleep, 0.3)
        waiting = workers.submit(abs, -1)
        assert waiting.cancel()
        assert busy.result() is None
        workers.submit(time.sleep, 0.3)
        dropped = workers.submit(abs, -2)
    with pytest.raises(CancelledError):
        dropped.result(5)


def test_many_threads_share_the_processes() -> None:
    found: list[list[int]] = []
    with Workers(2) as workers:
        threads = [
            threading.Thread(target=lambda n=n: found.append(list(workers.map(abs, range(-n, 0))))) for n in range(1, 9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(map(len, found)) == list(range(1, 9))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_busy_processes_end_with_the_one_that_started_them() -> None:
    with subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        processes = {int(word) for word in parent.stdout.readline().split() + parent.stdout.readline().split()}
        time.sleep(0.3)  # now they are busy
        parent.kill()
    ended = time.monotonic() + 5
    while any(_is_running(process) for process in processes):
        assert time.monotonic() < ended
        time.sleep(0.02)


def _is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from frostline.data.decoding.pool import Workers\nprint('once')\nprint(list(Workers(2).map(abs, [-1, -2])))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("once\n[1, 2]\n", "")


def test_a_forked_process_starts_its_own() -> None:
    with Workers(1) as workers:
        (before,) = workers.map(costly.process, [None])
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            (own,) = workers.map(costly.process, [None])
            os.write(writer, str(own).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert int(os.read(reader, 20)) != before
        assert list(workers.map(costly.process, [None])) == [before]
