import json
import subprocess
import sys
import time
from pathlib import Path

from frostline.activations.inventory import list_stores, verify

PROGRAM = Path(__file__).with_name("fill_once.py")


def start(*arguments: object) -> subprocess.Popen[str]:
    """Start the program; it stands before the pass once it said "ready"."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def together(processes: list[subprocess.Popen[str]]) -> list[dict[str, object]]:
    """Let all processes go at once and return what each reports."""
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), ends
    return [json.loads(out) for out, _ in ends]


def test_eight_processes_compute_a_cold_entry_once(cache: Path) -> None:
    reports = together([start(cache, 1000) for _ in range(8)])
    assert sorted(report["computed"] for report in reports) == [0] * 7 + [1000]
    assert {report["rows"] for report in reports} == {1000}
    assert len({report["digest"] for report in reports}) == 1
    [store] = list_stores(cache)
    assert store.rows == 1000
    assert [faults for _, faults in verify(cache)] == [[]]


def test_overlapping_wishes_compute_every_row_once(cache: Path) -> None:
    reports = together([start(cache, wish) for wish in ("0:600", "400:600", "350:300")])
    assert sum(report["computed"] for report in reports) == 1000
    [store] = list_stores(cache)
    assert store.rows == 1000


def test_a_killed_process_loses_its_lock(cache: Path) -> None:
    killed = start(cache, 60_000)
    assert killed.stdout is not None and killed.stdin is not None and killed.stderr is not None
    killed.stdout.readline()
    killed.stdin.write("go\n")
    killed.stdin.flush()
    while killed.poll() is None and not list(cache.glob("activations/*/manifest.json")):
        time.sleep(0.02)
    killed.kill()
    killed.communicate()
    [report] = together([start(cache, 8000)])
    assert 0 <= int(report["computed"]) < 8000  # the first shard of 4,096 rows was whole
    assert [faults for _, faults in verify(cache)] == [[]]
