import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from frostline.activations.store import (
    MAX_HEADER_BYTES,
    ShardEntry,
    read_manifest,
    row_key,
    shard_fault,
    write_manifest,
)
from frostline.errors import StorageError
from frostline.hashing import digest_file, digest_json
from tests.activations.stores import DAMAGES, ROW, cut, flip_bit, make_spec, make_store, opened, row_ids, rows, shard

Damage = Callable[[Path], None]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_come_back_bit_by_bit(cache: Path, dtype: str) -> None:
    spec = make_spec(dtype)
    store = make_store(cache, (), spec)
    written = np.random.default_rng(0).standard_normal((20, *ROW)).astype(dtype)
    with store.locked():
        store.append([row_key(row_id) for row_id in row_ids(20)], written)
    again = opened(cache, spec)
    assert again.shards[0].dtype == np.dtype(dtype)
    assert again.shards[0].tobytes() == written.tobytes()
    assert [again.index[row_key(row_id)].row for row_id in row_ids(20)] == list(range(20))


def test_rows_are_found_across_shards(cache: Path) -> None:
    make_store(cache, (4, 3, 5))
    store = opened(cache)
    assert [len(part) for part in store.shards] == [4, 3, 5]
    for number, row_id in enumerate(row_ids(12)):
        place = store.index[row_key(row_id)]
        assert (store.shards[place.shard][place.row] == number).all()


def test_views_of_one_picture_are_rows_of_their_own(cache: Path) -> None:
    store = make_store(cache, ())
    keys = [row_key(b"p" * 16, view) for view in (0, 1, 70_000)]
    with store.locked():
        store.append(keys, rows(3))
    assert {opened(cache).index[key].row for key in keys} == {0, 1, 2}


def test_a_shard_is_a_plain_safetensors_file(cache: Path) -> None:
    content = load_file(shard(make_store(cache, (3,)), 0))
    assert set(content) == {"keys", "rows"}
    assert content["keys"].tobytes() == b"".join(row_key(row_id) for row_id in row_ids(3))
    assert content["rows"].tolist() == rows(3).tolist()


def test_the_manifest_lists_every_shard_with_its_digest(cache: Path) -> None:
    store = make_store(cache, (4, 3))
    entries = read_manifest(store.folder)
    assert [entry.file for entry in entries] == ["shard-00000.safetensors", "shard-00001.safetensors"]
    assert [entry.rows for entry in entries] == [4, 3]
    for entry in entries:
        path = store.folder / entry.file
        assert (entry.bytes, entry.blake2b) == (path.stat().st_size, digest_file(path))
        assert shard_fault(store.folder, entry) == ""
    assert digest_json(json.loads((store.folder / "spec.json").read_text())) == store.spec.digest == store.folder.name


def test_another_spec_is_another_folder(cache: Path) -> None:
    make_store(cache, (4,), make_spec("float16"))
    other = opened(cache, make_spec("float32"))
    assert other.index == {} and len(list((cache / "activations").iterdir())) == 2


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_damaged_shard_is_named_and_only_its_rows_go(
    cache: Path, caplog: pytest.LogCaptureFixture, damage: Damage, number: int
) -> None:
    broken = shard(make_store(cache, (4, 3, 5)), number)
    damage(broken)
    store = opened(cache)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    lost = {0: range(4), 1: range(4, 7), 2: range(7, 12)}[number]
    assert len(warnings) == 1
    assert str(broken) in warnings[0] and f"its {len(lost)} rows" in warnings[0]
    assert store.damaged == [broken.name]
    found = [n for n, row_id in enumerate(row_ids(12)) if row_key(row_id) in store.index]
    assert found == [n for n in range(12) if n not in lost]
    for n in found:
        place = store.index[row_key(row_ids(12)[n])]
        assert (store.shards[place.shard][place.row] == n).all()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_rows_written_again_after_damage_are_whole(cache: Path, number: int) -> None:
    sizes = (4, 3, 5)
    flip_bit(shard(make_store(cache, sizes), number))
    start = sum(sizes[:number])
    store = opened(cache)
    with store.locked():
        store.append([row_key(i) for i in row_ids(sizes[number], start)], rows(sizes[number], start))
    again = opened(cache)
    assert again.damaged == [] and len(again.index) == 12
    assert len(list(store.folder.glob("shard-*"))) == 3
    for n, row_id in enumerate(row_ids(12)):
        place = again.index[row_key(row_id)]
        assert (again.shards[place.shard][place.row] == n).all()


@pytest.mark.parametrize("where", [0, 40, 150, -3])
def test_a_bit_flipped_in_the_manifest_is_found(cache: Path, caplog: pytest.LogCaptureFixture, where: int) -> None:
    manifest = make_store(cache, (4, 3)).folder / "manifest.json"
    flip_bit(manifest, where)
    store = opened(cache)
    assert store.index == {}
    assert str(manifest) in caplog.text and "is damaged" in caplog.text


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", "null", '{"shards": 1, "checksum": 2}', "\x00\x01", '{"shards": [']
)
def test_a_foreign_manifest_is_no_list_of_shards(cache: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    store = make_store(cache, (4,))
    (store.folder / "manifest.json").write_text(content)
    assert opened(cache).index == {}
    assert "is damaged" in caplog.text


def test_a_manifest_that_is_no_text_is_found(cache: Path) -> None:
    store = make_store(cache, (4,))
    (store.folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    assert opened(cache).index == {}


def test_a_manifest_edited_by_hand_is_not_believed(cache: Path) -> None:
    manifest = make_store(cache, (4,)).folder / "manifest.json"
    listed = json.loads(manifest.read_text())
    listed["shards"][0]["rows"] = 3
    manifest.write_text(json.dumps(listed))
    assert read_manifest(manifest.parent) == []


FOREIGN = {
    "oversized header": (1 << 40).to_bytes(8, "little") + b"{" * 64,
    "header just too long": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1),
    "header is no JSON": (8).to_bytes(8, "little") + b"\xff" * 64,
    "header is a list": (2).to_bytes(8, "little") + b"[]",
    "nothing": b"",
    "other tensors": save({"weights": np.zeros(3)}),
    "other types": save({"keys": np.zeros((4, 20), np.uint8), "rows": np.zeros((4, 2), np.int64)}),
    "rows cut off": save({"keys": np.zeros((4, 20), np.uint8), "rows": np.zeros((4, 2), np.float16)})[:-5],
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_in_place_of_a_shard_is_named(cache: Path, content: bytes) -> None:
    # Listed with the right checksum: somebody made it so. It is refused, quickly, and never mapped.
    store = make_store(cache, (4,))
    path = shard(store, 0)
    path.write_bytes(content)
    write_manifest(store.folder, [ShardEntry(path.name, 4, len(content), digest_file(path))])
    with pytest.raises(StorageError, match=r"shard-00000\.safetensors is no shard of Frostline's: remove it"):
        opened(cache)
    path.unlink()
    assert opened(cache).damaged == [path.name]


def test_stray_shards_and_parts_are_removed(cache: Path) -> None:
    folder = make_store(cache, (4, 3)).folder
    stray = folder / "shard-00007.safetensors"  # whole, but its writer was killed before it listed it
    stray.write_bytes((folder / "shard-00001.safetensors").read_bytes())
    parts = [folder / ".shard-00002.safetensors.0123abcd.part", folder / ".manifest.json.89ef4567.part"]
    for part in parts:
        part.write_bytes(b"half of")
    store = opened(cache)
    assert len(store.index) == 7
    assert not stray.exists() and not any(part.exists() for part in parts)
    assert sorted(path.name for path in folder.glob("shard-*")) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]


def test_reading_alone_removes_nothing(cache: Path) -> None:
    store = make_store(cache, (4, 3))
    cut(shard(store, 1))
    part = store.folder / ".shard-00002.safetensors.0123abcd.part"
    part.write_bytes(b"half of")
    store.load(writable=False)
    assert len(store.index) == 4
    assert shard(store, 1).exists() and part.exists()


def test_a_shard_is_listed_only_after_it_is_whole(cache: Path) -> None:
    store = make_store(cache, (4,))
    listed = (store.folder / "manifest.json").read_bytes()
    (store.folder / "shard-00001.safetensors").mkdir()  # the rename into place fails
    with store.locked(), pytest.raises(StorageError, match="--cache-dir"):
        store.append([row_key(row_id) for row_id in row_ids(3, 4)], rows(3, 4))
    assert (store.folder / "manifest.json").read_bytes() == listed
    assert not list(store.folder.glob(".*.part"))


def test_the_time_of_use_is_noted_and_makes_no_manifest(cache: Path) -> None:
    store = make_store(cache, ())
    store.mark_used()
    assert not (store.folder / "manifest.json").exists()
    assert opened(cache).damaged == []
