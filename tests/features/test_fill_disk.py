"""Disks that are full, forbidden or read-only: one clear line, and what was whole stays whole."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pytest

from frostline.data.dataset import Splits
from frostline.features.forward import FastForward
from frostline.features.inventory import list_stores, verify
from tests.commands import Within, run_forked
from tests.features.confined import bound_by_permissions, small_files
from tests.features.fill_once import SECONDS, Filling
from tests.features.passes import first, keep

KIB = 1024  # 100 rows of conv1 at 64 px take 613 of them in float16
TRAIN = ["train", "fashion-mnist", "--weights", "random", "--freeze", "conv1", "--taps", "conv1"]
TRAIN += ["--limit", "120", "--image-size", "64", "--epochs", "1", "--no-report"]


def wish(cache: Path, *counts: int, within: Within = nullcontext) -> list[int | str]:
    """Ask for the first images' activations, once for each count; return the rows computed or the error's one line."""
    filling = Filling(cache, *map(range, counts), within=within)
    filling.stand_ready()
    filling.go()
    answers = filling.reports()
    assert len(answers) == len(counts)
    assert not any("\n" in answer.get("error", "") for answer in answers)
    return [answer.get("error", answer.get("computed")) for answer in answers]


def files(cache: Path) -> dict[str, bytes]:
    """Return every file's content, but the lock's."""
    return {str(path): path.read_bytes() for path in cache.rglob("*") if path.is_file() and path.name != "lock"}


def is_whole(cache: Path, rows: int) -> bool:
    return [(store.rows, faults) for store, faults in verify(cache)] == [(rows, [])]


@contextmanager
def protected(*paths: Path) -> Iterator[None]:
    """Take away the right to write, as `chmod a-w` does."""
    modes = [path.stat().st_mode for path in paths]
    for path, mode in zip(paths, modes, strict=True):
        path.chmod(mode & 0o555)
    try:
        yield
    finally:
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


@contextmanager
def tmpfs(folder: Path, options: str) -> Iterator[bool]:
    """Mount a small file system in memory; yields whether this machine permits it."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    mounted = sys.platform == "linux" and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def warm(cache: Path, fashion: Splits, forward: FastForward) -> Path:
    """A cache that holds the first 50 images."""
    assert keep(first(fashion, 50), cache, forward, "float16")[2] == 50
    return cache


def test_a_file_that_may_not_grow_is_refused_in_one_line(cache: Path, fashion: Splits, forward: FastForward) -> None:
    [line] = wish(cache, 100, within=partial(small_files, 100 * KIB))
    assert "shard-00000.safetensors" in line and "larger than the system allows" in line and "--cache-dir" in line
    assert not list(cache.rglob("*.part")) and not list(cache.rglob("shard-*"))
    assert keep(first(fashion, 100), cache, forward, "float16")[2] == 100


def test_old_shards_survive_a_file_that_may_not_grow(warm: Path, fashion: Splits, forward: FastForward) -> None:
    before = files(warm)
    none, line, again, more = wish(warm, 50, 250, 50, 80, within=partial(small_files, 500 * KIB))
    assert (none, again, more) == (0, 0, 30)  # what is kept is of use, and smaller wishes still fit
    assert "shard-00001.safetensors" in line and "Existing files were not modified" in line
    after = files(warm)
    assert all(after[path] == data for path, data in before.items() if "shard" in path)
    assert is_whole(warm, 80)
    assert keep(first(fashion, 250), warm, forward, "float16")[2] == 170


def test_old_shards_survive_a_full_disk(cache: Path) -> None:
    with tmpfs(cache, f"size={1000 * KIB}") as mounted:
        within = nullcontext if mounted else partial(small_files, 700 * KIB)
        assert wish(cache, 50) == [50]
        before = files(cache)
        [line] = wish(cache, 300, within=within)
        assert ("the disk is full" if mounted else "larger than the system allows") in line
        assert files(cache) == before and is_whole(cache, 50)
        assert wish(cache, 50, 80, within=within) == [0, 30]
        assert is_whole(cache, 80)


def test_a_disk_without_a_byte_left_is_refused_in_one_line(cache: Path) -> None:
    with tmpfs(cache, f"size={64 * KIB}") as mounted:
        if mounted:
            (cache / "junk").write_bytes(bytes(64 * KIB))
        [line] = wish(cache, 20, within=nullcontext if mounted else partial(small_files, 0))
        assert str(cache) in line and "--cache-dir" in line
        assert not list(cache.rglob("shard-*")) and not list(cache.rglob("*.part"))


def test_the_command_line_ends_with_2_on_a_full_disk(cache: Path, tmp_path: Path) -> None:
    done = run_forked(TRAIN, tmp_path, dict(os.environ), SECONDS, within=partial(small_files, 100 * KIB))
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("frostline: cannot use") and "shard-00000" in line and "Traceback" not in done.stdout


def test_a_warm_cache_that_may_not_be_written_is_read(warm: Path) -> None:
    before = files(warm)
    with protected(warm, *warm.rglob("*")):
        hit, subset, line = wish(warm, 50, 20, 80, within=bound_by_permissions)
    assert (hit, subset) == (0, 0)
    assert f"the cache at {warm} cannot be written and lacks 30 of 80 features" in line
    assert files(warm) == before


def test_a_cold_cache_that_may_not_be_written_is_refused_in_one_line(cache: Path) -> None:
    with protected(cache):
        [line] = wish(cache, 20, within=bound_by_permissions)
    assert f"the cache at {cache} cannot be written and lacks 20 of 20 features" in line and "--cache-dir" in line
    assert list(cache.iterdir()) == []


def test_the_command_line_ends_with_2_when_a_cold_cache_may_not_be_written(cache: Path, tmp_path: Path) -> None:
    with protected(cache):
        done = run_forked(TRAIN, tmp_path, dict(os.environ), SECONDS, within=bound_by_permissions)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "cannot be written and lacks 120 of 120 features" in line


def test_a_damaged_shard_in_a_cache_that_may_not_be_written_stays(
    warm: Path, fashion: Splits, forward: FastForward
) -> None:
    [shard] = warm.rglob("shard-*")
    shard.write_bytes(shard.read_bytes()[:-1])
    with protected(warm, *warm.rglob("*")):
        [line] = wish(warm, 50, within=bound_by_permissions)
    assert "lacks 50 of 50 features" in line
    assert shard.exists()
    assert keep(first(fashion, 50), warm, forward, "float16")[2] == 50


def test_a_store_whose_lock_can_be_had_but_no_file_made(warm: Path) -> None:
    before = files(warm)
    with protected(list_stores(warm)[0].folder):
        hit, line = wish(warm, 50, 80, within=bound_by_permissions)
    assert hit == 0
    assert "permission denied" in line and "--cache-dir" in line
    assert files(warm) == before


def test_a_read_only_file_system_is_read(cache: Path) -> None:
    with tmpfs(cache, "size=10m") as mounted:
        assert wish(cache, 50) == [50]
        if mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(cache)], check=True)
            hit, line = wish(cache, 50, 80)
        else:
            with protected(cache, *cache.rglob("*")):
                hit, line = wish(cache, 50, 80, within=bound_by_permissions)
    assert hit == 0
    assert "cannot be written and lacks 30 of 80 features" in line


def test_a_cache_that_is_a_file_is_refused_in_one_line(cache: Path) -> None:
    (cache / "file").write_text("not a folder")
    for place in (cache / "file", cache / "file" / "deeper"):
        [line] = wish(place, 20)
        assert str(cache / "file") in line and "--cache-dir" in line
    assert (cache / "file").read_text() == "not a folder"
