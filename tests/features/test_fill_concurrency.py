import time
from pathlib import Path
from typing import Any

from frostline.features.inventory import list_stores, verify
from frostline.features.shard import read_manifest
from tests.features.fill_once import Filling


def together(processes: list[Filling]) -> list[dict[str, Any]]:
    """Let all processes go at once and return what each reports."""
    for process in processes:
        process.stand_ready()
    for process in processes:
        process.go()
    return [report for process in processes for report in process.reports()]


def test_eight_processes_compute_a_cold_entry_once(cache: Path) -> None:
    reports = together([Filling(cache, range(1000)) for _ in range(8)])
    assert sorted(report["computed"] for report in reports) == [0] * 7 + [1000]
    assert {report["rows"] for report in reports} == {1000}
    assert len({report["digest"] for report in reports}) == 1
    [store] = list_stores(cache)
    assert store.rows == 1000
    assert [faults for _, faults in verify(cache)] == [[]]


def test_overlapping_wishes_compute_every_row_once(cache: Path) -> None:
    reports = together([Filling(cache, wish) for wish in (range(600), range(400, 1000), range(350, 650))])
    assert sum(report["computed"] for report in reports) == 1000
    [store] = list_stores(cache)
    assert store.rows == 1000


def test_a_killed_process_loses_its_lock(cache: Path) -> None:
    killed = Filling(cache, range(60_000))
    killed.stand_ready()
    killed.go()
    while killed.process.is_alive() and not any(read_manifest(folder) for folder in cache.glob("activations/*")):
        time.sleep(0.02)
    killed.process.kill()
    killed.process.join()
    [report] = together([Filling(cache, range(8000))])
    assert 0 <= report["computed"] < 8000  # the first shard of 4,096 rows was whole
    assert [faults for _, faults in verify(cache)] == [[]]
