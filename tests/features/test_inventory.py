import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from frostline._utils.hashing import digest_file
from frostline.errors import StorageError
from frostline.features.inventory import DAY, list_stores, prune, total_bytes, verify
from frostline.features.shard import ShardEntry, write_manifest
from frostline.features.store import Store
from tests.conftest import Frostline
from tests.features.confined import bound_by_permissions
from tests.features.stores import DAMAGES, flip_bit, make_spec, make_store, opened, shard


def aged(store: Store, days: float) -> Store:
    """Make a store look as if it had last been used so many days ago."""
    then = time.time() - days * DAY
    os.utime(store.folder / "manifest.json", (then, then))
    return store


@pytest.fixture
def three(cache: Path) -> list[Store]:
    """Stores that were used today, ten days ago and a hundred days ago."""
    return [aged(make_store(cache, (4, 3), make_spec(network=f"net{days}")), days) for days in (0, 10, 100)]


def test_an_empty_cache_has_no_stores(cache: Path) -> None:
    assert list_stores(cache) == [] == verify(cache)
    assert list_stores(cache / "missing") == []
    assert prune(cache, everything=True) == ([], 0)


def test_stores_are_listed_with_what_they_hold(cache: Path) -> None:
    store = make_store(cache, (4, 3))
    [facts] = list_stores(cache)
    assert (facts.folder, facts.rows, facts.shards) == (store.folder, 7, 2)
    assert facts.spec["network"] == "alexnet" and facts.spec["dtype"] == "float16"
    assert facts.name == store.spec.digest[:12]
    assert facts.bytes == total_bytes([facts]) == sum(p.stat().st_size for p in store.folder.iterdir())
    assert abs(time.time() - facts.last_used) < 60


def test_the_most_recently_used_comes_first(cache: Path, three: list[Store]) -> None:
    assert [facts.folder for facts in list_stores(cache)] == [store.folder for store in three]
    three[1].mark_used()
    assert list_stores(cache)[0].folder == three[1].folder


def test_a_store_without_a_finished_shard_is_listed_as_empty(cache: Path) -> None:
    store = make_store(cache, ())
    [facts] = list_stores(cache)
    assert (facts.folder, facts.rows, facts.shards, facts.spec) == (store.folder, 0, 0, {})


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"[1]", b'"text"', b"{", b'{"taps": 3}'])
def test_a_damaged_spec_does_not_hide_the_store(cache: Path, content: bytes) -> None:
    store = make_store(cache, (4,))
    (store.folder / "spec.json").write_bytes(content)
    [facts] = list_stores(cache)
    assert (facts.rows, facts.spec) == (4, {})


def test_whole_stores_verify(cache: Path, three: list[Store]) -> None:
    assert [faults for _, faults in verify(cache)] == [[], [], []]


@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_the_damaged_shard(cache: Path, three: list[Store], damage: Callable[[Path], None]) -> None:
    broken = shard(three[1], 1)
    damage(broken)
    report = {facts.folder: faults for facts, faults in verify(cache)}
    [fault] = report[three[1].folder]
    assert fault.startswith(f"{broken}: ")
    assert report[three[0].folder] == report[three[2].folder] == []


def test_verify_finds_any_flipped_bit(cache: Path) -> None:
    path = shard(make_store(cache, (4,)), 0)
    whole = path.read_bytes()
    for where in (0, 7, 8, 30, len(whole) // 2, len(whole) - 1):
        flip_bit(path, where)
        assert verify(cache)[0][1] == [f"{path}: its checksum is wrong"]
        path.write_bytes(whole)
    assert verify(cache)[0][1] == []


def test_verify_finds_a_damaged_manifest(cache: Path) -> None:
    manifest = make_store(cache, (4,)).folder / "manifest.json"
    flip_bit(manifest, manifest.read_bytes().index(b'"bytes": ') + 9)
    [(_, faults)] = verify(cache)
    assert faults == [f"{manifest}: the list of shards is damaged (its checksum is wrong)"]


def test_verify_changes_nothing(cache: Path, three: list[Store]) -> None:
    flip_bit(shard(three[0], 0))
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    verify(cache)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_prune_by_age_takes_the_old_ones(cache: Path, three: list[Store]) -> None:
    sizes = {facts.folder: facts.bytes for facts in list_stores(cache)}
    removed, freed = prune(cache, older_than_days=30)
    assert [facts.folder for facts in removed] == [three[2].folder]
    assert freed == sizes[three[2].folder]
    assert not three[2].folder.exists()
    removed, _ = prune(cache, older_than_days=5)
    assert [facts.folder for facts in removed] == [three[1].folder]
    assert len(opened(cache, three[0].spec).index) == 7


def test_prune_all_takes_every_store(cache: Path, three: list[Store]) -> None:
    (cache / "weights").mkdir()
    removed, freed = prune(cache, everything=True)
    assert len(removed) == 3 and freed == total_bytes(removed) > 0
    assert list_stores(cache) == []
    assert (cache / "weights").is_dir()


def test_prune_without_a_rule_takes_nothing(cache: Path, three: list[Store]) -> None:
    assert prune(cache) == ([], 0)
    assert len(list_stores(cache)) == 3


def test_a_store_in_use_stays(cache: Path, three: list[Store], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "frostline")
    with three[1].locked() as writable:
        assert writable
        removed, _ = prune(cache, everything=True)
        assert {facts.folder for facts in removed} == {three[0].folder, three[2].folder}
    assert f"{three[1].spec.digest[:12]} is in use: not removed" in caplog.text
    assert len(opened(cache, three[1].spec).index) == 7


def test_a_pruned_store_can_be_filled_again(cache: Path) -> None:
    make_store(cache, (4, 3))
    prune(cache, everything=True)
    assert len(make_store(cache, (5,)).index) == 5
    assert [faults for _, faults in verify(cache)] == [[]]


def test_a_folder_of_stores_that_is_a_file_holds_none(cache: Path) -> None:
    (cache / "activations").write_text("not a folder")
    assert list_stores(cache) == []


def test_stores_can_be_listed_while_files_come_and_go(cache: Path) -> None:
    # What a writer does all the time: a part appears beside its place and is renamed away.
    folder = make_store(cache, (4,)).folder
    churn = f"from pathlib import Path\nwhile True: p = Path({str(folder / '.x.part')!r}); p.touch(); p.unlink()"
    with subprocess.Popen([sys.executable, "-c", churn]) as writer:
        try:
            while not (folder / ".x.part").exists():
                assert writer.poll() is None
            for _ in range(2000):
                [facts] = list_stores(cache)
                assert facts.rows == 4
        finally:
            writer.kill()


def test_a_store_that_may_not_be_removed_is_named(cache: Path) -> None:
    store = make_store(cache, (4,))
    (store.folder / "lock").unlink()
    (store.folder / "lock").mkdir()
    with pytest.raises(StorageError, match=store.spec.digest):
        prune(cache, everything=True)
    assert (store.folder / "manifest.json").exists()


def test_prune_leaves_what_frostline_did_not_make(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = cache / "activations"
    store = make_store(cache, (4,))
    thesis = [root / "thesis" / "spec.json", root / ("0" * 32) / "thesis.txt", root / ("1" * 32)]
    thesis.append(tmp_path / "linked" / "manifest.json")
    for path in thesis:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (root / ("2" * 32)).symlink_to(tmp_path / "linked")
    elsewhere = make_store(tmp_path, (3,)).folder
    (root / elsewhere.name[::-1]).symlink_to(elsewhere)
    before = sorted(
        path for folder in (tmp_path, root) for path in folder.rglob("*") if store.folder not in path.parents
    )
    removed, _ = prune(cache, everything=True)
    assert [facts.folder for facts in removed] == [store.folder]
    assert sorted(path for folder in (tmp_path, root) for path in folder.rglob("*")) == [
        path for path in before if path != store.folder
    ]
    assert all(path.read_text() == "mine" for path in thesis)
    [line] = [record.getMessage() for record in caplog.records if "ignored in" in record.getMessage()]
    assert "thesis (not named like a store)" in line and f"{'2' * 32} (a symbolic link)" in line


def test_a_persons_file_in_a_store_stays_and_is_named(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = make_store(cache, (4,))
    own = [store.folder / name for name in (".notes.part", "thesis.txt", "shard-00000.safetensors.txt")]
    for path in own:
        path.write_text("mine")
    (store.folder / "shard-00007.safetensors").symlink_to(own[1])
    prune(cache, everything=True)
    assert sorted(store.folder.iterdir()) == sorted([*own, store.folder / "shard-00007.safetensors"])
    assert all(path.read_text() == "mine" for path in own)
    assert f"{store.folder} stays: it holds .notes.part, shard-00000.safetensors.txt" in caplog.text


@pytest.mark.parametrize("left", [(), ("lock",), ("lock", ".shard-00000.safetensors.0123abcd.part")])
def test_a_store_killed_before_its_first_shard_is_pruned(cache: Path, left: tuple[str, ...]) -> None:
    folder = cache / "activations" / ("a" * 32)
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("")
    prune(cache, everything=True)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["manifest.json", "spec.json", "shard-00000.safetensors"])
def test_a_pipe_or_folder_in_a_store_is_not_waited_for(cache: Path, name: str) -> None:
    for make in (os.mkfifo, os.mkdir):
        path = make_store(cache, (4,)).folder / name
        path.unlink()
        make(path)
        [(facts, faults)] = verify(cache)
        assert facts.rows == (0 if name == "manifest.json" else 4)
        assert [fault.startswith(str(path)) for fault in faults] == ([] if name == "spec.json" else [True])
        prune(cache, everything=True)
        assert list(path.parent.iterdir()) == [path]
        path.unlink() if make is os.mkfifo else path.rmdir()


def test_a_store_out_of_reach_hides_no_other(cache: Path, frostline: Frostline) -> None:
    closed, store = (make_store(cache, (4,), make_spec(network=name)) for name in ("closed", "open"))
    closed.folder.chmod(0)
    done = frostline("cache", "list", within=bound_by_permissions)
    closed.folder.chmod(0o700)
    assert done.returncode == 0 and store.spec.digest[:12] in done.stdout
    assert f"{closed.folder.name} (Permission denied)" in done.stdout + done.stderr


def test_verify_names_a_shard_whose_rows_are_not_what_the_store_keeps(cache: Path) -> None:
    store = make_store(cache, (4,))
    path = shard(store, 0)
    content = save({"keys": np.zeros((4, 20), np.uint8), "rows": np.zeros((4, 3, 2), np.float32)})
    path.write_bytes(content)
    entry = ShardEntry(file=path.name, rows=4, bytes=len(content), blake2b=digest_file(path))
    write_manifest(store.folder, [entry])
    assert verify(cache)[0][1] == [f"{path}: its rows are float32, expected float16"]
