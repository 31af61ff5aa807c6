"""`frostline cache list`, `verify` and `prune`, through the console script."""

import os
import time
from pathlib import Path

from tests.conftest import Frostline
from tests.features.stores import cut, flip_bit, make_spec, make_store, shard

TRAIN = ["train", "fashion-mnist", "--weights", "random", "--freeze", "conv2", "--taps", "conv2"]
TRAIN += ["--limit", "120", "--image-size", "64", "--epochs", "1", "--no-report"]


def refusal(done: object) -> str:
    """Return the one line of a refusal."""
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("frostline: ")
    return line


def test_an_empty_cache_is_listed_verified_and_pruned(frostline: Frostline, cache: Path) -> None:
    listed, verified = frostline("cache", "list"), frostline("cache", "verify")
    assert (listed.returncode, verified.returncode) == (0, 0)
    assert f"0 stores, 0.0 MiB in {cache}" in listed.stdout
    pruned = frostline("cache", "prune", "--all")
    assert (pruned.returncode, pruned.stdout) == (0, "removed 0 stores, 0.0 MiB\n")


def test_stores_are_listed_verified_and_repaired(frostline: Frostline, cache: Path) -> None:
    assert frostline(*TRAIN).returncode == 0
    listed = frostline("cache", "list")
    assert listed.returncode == 0 and "2 stores" in listed.stdout
    test, known = (line.split() for line in listed.stdout.splitlines() if "alexnet conv2 64 px" in line)
    assert [(row[5], row[-4]) for row in (known, test)] == [("float16", "120"), ("float32", "20")]
    verified = frostline("cache", "verify")
    assert verified.returncode == 0
    assert sorted(verified.stdout.splitlines()) == sorted(
        f"{row[0]}: {row[-4]} rows in 1 shards: intact" for row in (known, test)
    )
    [path] = cache.rglob(f"{known[0]}*/shard-*")
    flip_bit(path, 5000)
    damaged = frostline("cache", "verify")
    assert refusal(damaged) == "frostline: 1 damaged: the next run that needs those rows recomputes them."
    assert "DAMAGED" in damaged.stdout and f"  {path}: its checksum is wrong" in damaged.stdout
    again = frostline(*TRAIN)
    assert again.returncode == 0
    assert f"warning: {path} is damaged" in again.stdout and "120 of 120 images to compute" in again.stdout
    assert frostline("cache", "verify").returncode == 0


def test_stores_are_listed_with_the_latest_use_first(frostline: Frostline, cache: Path) -> None:
    stores = [make_store(cache, (4, 3), make_spec(network=name)) for name in ("older", "newer")]
    then = time.time() - 3 * 86400
    os.utime(stores[0].folder / "manifest.json", (then, then))
    lines = frostline("cache", "list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [store.spec.digest[:12] for store in reversed(stores)]
    assert "newer conv1 64 px float16" in lines[1] and "older conv1 64 px float16" in lines[2]
    assert time.strftime("%Y-%m-%d", time.localtime(then)) in lines[2]


def test_every_damaged_shard_is_named(frostline: Frostline, cache: Path) -> None:
    one, two = (make_store(cache, (4, 3, 5), make_spec(network=name)) for name in ("one", "two"))
    cut(shard(one, 1))
    shard(two, 0).unlink()
    (two.folder / "manifest.json").touch()
    done = frostline("cache", "verify")
    assert "2 damaged" in refusal(done)
    assert f"{shard(one, 1)}: " in done.stdout and f"{shard(two, 0)}: the file is missing" in done.stdout
    assert done.stdout.count("DAMAGED") == 2


def test_prune_needs_an_option(frostline: Frostline, cache: Path) -> None:
    make_store(cache)
    line = refusal(frostline("cache", "prune"))
    assert "--older-than DAYS" in line and "--all" in line
    assert "--older-than" in refusal(frostline("cache", "prune", "--older-than", "-1"))
    assert list(cache.rglob("shard-*"))


def test_prune_removes_old_stores(frostline: Frostline, cache: Path) -> None:
    old, new = (make_store(cache, (4,), make_spec(network=name)) for name in ("old", "new"))
    then = time.time() - 40 * 86400
    os.utime(old.folder / "manifest.json", (then, then))
    assert "removed 0 stores" in frostline("cache", "prune", "--older-than", "50").stdout
    done = frostline("cache", "prune", "--older-than", "30")
    assert (done.returncode, old.folder.exists(), new.folder.exists()) == (0, False, True)
    assert "removed 1 stores" in done.stdout


def test_prune_keeps_a_store_in_use(frostline: Frostline, cache: Path) -> None:
    used, idle = (make_store(cache, (4,), make_spec(network=name)) for name in ("used", "idle"))
    with used.locked():
        done = frostline("cache", "prune", "--all")
    assert done.returncode == 0
    assert f"warning: {used.spec.digest[:12]} is in use: not removed" in done.stdout
    assert used.folder.exists() and not idle.folder.exists()


def test_cache_dir(frostline: Frostline, cache: Path, tmp_path: Path) -> None:
    make_store(tmp_path / "other", (4,))
    assert "1 stores" in frostline("cache", "list", "--cache-dir", tmp_path / "other").stdout
    assert "0 stores" in frostline("cache", "list").stdout
    assert "removed 1 stores" in frostline("cache", "prune", "--all", "--cache-dir", tmp_path / "other").stdout


def test_a_misspelt_command_is_refused(frostline: Frostline) -> None:
    assert "prun" in refusal(frostline("cache", "prun"))
