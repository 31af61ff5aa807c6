import json
import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from frostline._utils.hashing import digest_file, digest_json
from frostline.errors import StorageError
from frostline.features.inventory import verify
from frostline.features.shard import MAX_HEADER_BYTES, Shard, ShardEntry, read_manifest, read_shard, write_manifest
from frostline.features.store import Store, row_key
from tests.features.confined import small_files
from tests.features.stores import DAMAGES, ROW, cut, flip_bit, make_spec, make_store, opened, row_ids, rows, shard

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


def test_views_of_one_image_are_rows_of_their_own(cache: Path) -> None:
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
        assert isinstance(read_shard(store.folder, entry, "float16"), Shard)
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


KEYS = np.frombuffer(b"".join(row_key(row_id) for row_id in row_ids(4)), np.uint8).reshape(4, 20)


def shard_of(keys: np.ndarray, rows: np.ndarray) -> bytes:
    """Return the bytes of a shard."""
    return save({"keys": np.ascontiguousarray(keys), "rows": rows})


def listed(store: Store, path: Path, content: bytes, count: int = 4) -> None:
    """Put a file in a shard's place and list it alone, with its right checksum."""
    path.write_bytes(content)
    entry = ShardEntry(file=path.name, rows=count, bytes=len(content), blake2b=digest_file(path))
    write_manifest(store.folder, [entry])


FOREIGN = {
    "oversized header": (1 << 40).to_bytes(8, "little") + b"{" * 64,
    "header just too long": (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1),
    "header is no JSON": (8).to_bytes(8, "little") + b"\xff" * 64,
    "header is a list": (2).to_bytes(8, "little") + b"[]",
    "no data": (2).to_bytes(8, "little") + b"{}",
    "other tensors": save({"weights": np.zeros(3)}),
    "other types": save({"keys": np.zeros((4, 20), np.uint8), "rows": np.zeros((4, 2), np.int64)}),
    "rows cut off": shard_of(KEYS, np.zeros((4, 2), np.float16))[:-5],
    "rows too long": shard_of(KEYS, np.zeros((4, 2), np.float16)) + bytes(6),
    "rows of another type": shard_of(KEYS, np.zeros((4, 2), np.float32)),
    "fewer rows": shard_of(KEYS, np.zeros((3, 2), np.float16)),
    "fewer keys": shard_of(KEYS[:3], np.zeros((4, 2), np.float16)),
    "short keys": shard_of(KEYS[:, :19], np.zeros((4, 2), np.float16)),
    "keys of another type": shard_of(KEYS.astype(np.float32), np.zeros((4, 2), np.float16)),
    "a key twice": shard_of(KEYS[[0, 1, 2, 2]], np.zeros((4, 2), np.float16)),
    "rows of nothing": save({"keys": KEYS, "rows": np.zeros((4, 0), np.float16)}),
    "not a number": shard_of(KEYS, np.full((4, 2), np.nan, np.float16)),
    "infinite": shard_of(KEYS, np.array([[0, 0], [0, 0], [0, -np.inf], [0, 0]], np.float16)),
    "tensors that overlap": shard_of(KEYS, np.zeros((4, 2), np.float16)).replace(b"[16,96]", b"[0,80]".ljust(7)),
}


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_in_place_of_a_shard_is_named_and_its_rows_go(
    cache: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    # Listed with the right checksum: somebody made it so.
    store = make_store(cache, (4,))
    path = shard(store, 0)
    path.write_bytes(content)
    listed(store, path, content)
    again = opened(cache)
    assert (again.damaged, again.index) == ([path.name], {})
    assert f"{path} is damaged (" in caplog.text and "its 4 rows are computed again" in caplog.text
    assert not path.exists()


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
    with store.locked(), small_files(100), pytest.raises(StorageError, match="--cache-dir"):
        store.append([row_key(row_id) for row_id in row_ids(3, 4)], rows(3, 4))
    assert (store.folder / "manifest.json").read_bytes() == listed
    assert not list(store.folder.glob(".*.part"))


def test_a_writer_killed_in_its_first_shard_leaves_no_damage(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """No handler may take it, as none takes a signal."""

    def write(path: Path, data: bytes, remedy: str) -> None:
        path.write_bytes(data)
        raise Killed

    monkeypatch.setattr("frostline.features.store.write_bytes", write)
    store = Store(cache, make_spec())
    with store.locked(), pytest.raises(Killed):
        store.append([row_key(row_id) for row_id in row_ids(3)], rows(3))
    assert shard(store, 0).exists()
    ((facts, faults),) = verify(cache)
    assert (facts.rows, faults) == (0, [])


def test_the_time_of_use_is_noted_and_makes_no_manifest(cache: Path) -> None:
    store = make_store(cache, ())
    store.mark_used()
    assert not (store.folder / "manifest.json").exists()
    assert opened(cache).damaged == []


def test_shards_have_six_digits_where_five_are_used_up(cache: Path) -> None:
    store = make_store(cache, (1,))
    [entry] = read_manifest(store.folder)
    last = shard(store, 0).rename(store.folder / "shard-99999.safetensors")
    write_manifest(store.folder, [entry.model_copy(update={"file": last.name})])
    opened_store = opened(cache)
    for number in (1, 2):
        with opened_store.locked():
            opened_store.append([row_key(row_id) for row_id in row_ids(1, number)], rows(1, number))
    again = opened(cache)
    assert [entry.file[6:-12] for entry in read_manifest(store.folder)] == ["99999", "100000", "100001"]
    assert [float(again.shards[again.index[row_key(i)].shard][0].max()) for i in row_ids(3)] == [0, 1, 2]


def test_nothing_that_is_called_like_a_shard_is_overwritten(cache: Path) -> None:
    store = make_store(cache, (4,))
    taken = store.folder / "shard-00001.safetensors"
    taken.mkdir()
    link = store.folder / "shard-000002.safetensors"
    link.symlink_to(cache / "elsewhere")
    with store.locked():
        store.append([row_key(row_id) for row_id in row_ids(3, 4)], rows(3, 4))
    assert [entry.file for entry in read_manifest(store.folder)][1] == "shard-00003.safetensors"
    assert len(opened(cache).index) == 7
    assert taken.is_dir() and link.is_symlink() and not (cache / "elsewhere").exists()


def test_a_persons_own_files_in_a_store_survive(cache: Path) -> None:
    store = make_store(cache, (4,))
    own = [store.folder / name for name in (".notes.part", "shard-best.safetensors", "shard-00000.safetensors.old")]
    for path in own:
        path.write_text("mine")
    opened(cache)
    assert all(path.read_text() == "mine" for path in own)


@pytest.mark.parametrize(
    "line",
    [
        {"file": "../shard-00000.safetensors"},
        {"file": "shard-00000.safetensors\n"},
        {"file": "shard-٠٠٠٠٠.safetensors"},
        {"file": "notes.txt"},
        {"rows": 0},
        {"rows": -1},
        {"rows": 4.0},
        {"rows": "4"},
        {"rows": 1 << 40},
        {"bytes": -1},
        {"blake2b": "0"},
        {"more": 1},
    ],
)
def test_an_impossible_line_of_the_manifest_is_not_believed(
    cache: Path, caplog: pytest.LogCaptureFixture, line: dict[str, object]
) -> None:
    store = make_store(cache, (4,))
    manifest = store.folder / "manifest.json"
    shards = [json.loads(manifest.read_text())["shards"][0] | line]
    manifest.write_text(json.dumps({"shards": shards, "checksum": digest_json(shards)}))
    assert read_manifest(store.folder) == []
    assert f"{manifest} is damaged" in caplog.text


def test_a_shard_listed_twice_is_not_believed(cache: Path) -> None:
    store = make_store(cache, (4,))
    write_manifest(store.folder, read_manifest(store.folder) * 2)
    assert read_manifest(store.folder) == []


@pytest.mark.parametrize("row", [(3,), (2, 3), (3, 2, 1)])
def test_rows_of_another_shape_than_the_pass_gives_are_computed_again(
    cache: Path, caplog: pytest.LogCaptureFixture, row: tuple[int, ...]
) -> None:
    store = make_store(cache, (4,))
    listed(store, shard(store, 0), shard_of(KEYS, np.zeros((4, *row), np.float16)))
    with store.locked() as writable:
        store.load(writable=writable, row_shape=lambda: (3, 2))
    assert store.index == {} and f"its rows have the shape {row}, expected (3, 2)" in caplog.text


def test_shards_of_one_store_have_rows_of_one_shape(cache: Path) -> None:
    store = make_store(cache, (4, 3))
    entries = read_manifest(store.folder)
    content = shard_of(np.arange(60, dtype=np.uint8).reshape(3, 20), np.zeros((3, 5), np.float16))
    shard(store, 1).write_bytes(content)
    odd = ShardEntry(file=entries[1].file, rows=3, bytes=len(content), blake2b=digest_file(shard(store, 1)))
    write_manifest(store.folder, [entries[0], odd])
    assert opened(cache).damaged == [odd.file]


def test_a_row_that_another_shard_has_is_not_taken_twice(cache: Path) -> None:
    store = make_store(cache, (4, 4))
    entries = read_manifest(store.folder)
    shard(store, 1).write_bytes(shard(store, 0).read_bytes())
    write_manifest(store.folder, [entries[0], entries[0].model_copy(update={"file": entries[1].file})])
    again = opened(cache)
    assert again.damaged == [entries[1].file] and len(again.index) == 4


@pytest.mark.parametrize("name", ["manifest.json", "shard-00000.safetensors", "lock"])
def test_a_pipe_in_a_store_is_not_waited_for(cache: Path, name: str) -> None:
    store = make_store(cache, (4,))
    (store.folder / name).unlink()
    os.mkfifo(store.folder / name)
    with pytest.raises(StorageError, match=r"manifest\.json") if name == "manifest.json" else nullcontext():
        again = Store(cache, store.spec)
        with again.locked() as writable:
            again.load(writable=writable)
        assert len(again.index) == (4 if name == "lock" else 0)
    assert (store.folder / name).is_fifo()


def test_a_store_that_is_a_link_is_read_and_never_written(cache: Path, tmp_path: Path) -> None:
    store = make_store(cache, (4,))
    elsewhere = store.folder.rename(tmp_path / "elsewhere")
    (elsewhere / ".manifest.json.89ef4567.part").write_text("half of")
    (elsewhere / "lock").unlink()
    before = sorted(elsewhere.iterdir())
    store.folder.symlink_to(elsewhere)
    linked = Store(cache, store.spec)
    with linked.locked() as writable:
        linked.load(writable=writable)
        assert not writable and "symbolic link" in linked.read_only
    assert len(linked.index) == 4 and sorted(elsewhere.iterdir()) == before
