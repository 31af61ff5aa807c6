"""Folders of ours: what they list is checked when it is read, and nothing of others is ever removed."""

import json
import os
import time
from pathlib import Path

import pytest

from frostline._utils.hashing import digest_bytes
from frostline._utils.manifest import (
    MANIFEST,
    check_ours,
    hold,
    read_manifest,
    remove_files,
    remove_parts,
    write_manifest,
)
from frostline.errors import RunError

NAMES = ("points.jsonl", "model/model.json", "log.txt")
OTHER = "choose another --name"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder with two files."""
    place = tmp_path / "mine"
    (place / "model").mkdir(parents=True)
    (place / "points.jsonl").write_bytes(b"1\n")
    (place / "model/model.json").write_bytes(b"{}")
    write_manifest(place, "curve", NAMES, complete=True)
    return place


def holding(folder: Path):
    return hold(folder, "curve", NAMES, what="curve 'mine'", other=OTHER)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_listed_files_are_read_and_those_that_are_not_there_are_left_out(folder):
    manifest = read_manifest(folder)
    assert manifest.files == {"points.jsonl": digest_bytes(b"1\n"), "model/model.json": digest_bytes(b"{}")}
    assert manifest.read("points.jsonl") == b"1\n"
    assert manifest.check("model/model.json") == digest_bytes(b"{}")
    assert (manifest.kind, manifest.complete) == ("curve", True)


@pytest.mark.parametrize("read", ["read", "check"])
def test_changed_file_is_refused_by_name(folder, read):
    (folder / "points.jsonl").write_bytes(b"2\n")
    with pytest.raises(RunError, match=r"points\.jsonl is not the file that Frostline wrote \(its checksum is wrong\)"):
        getattr(read_manifest(folder), read)("points.jsonl")


def test_file_that_is_not_listed_is_refused_once_all_is_there(folder):
    (folder / "extra.json").write_bytes(b"{}")
    with pytest.raises(RunError, match=r"extra\.json is not the file that Frostline wrote \(manifest\.json does not"):
        read_manifest(folder).read("extra.json")
    write_manifest(folder, "curve", ["points.jsonl"])
    assert read_manifest(folder).read("extra.json") == b"{}"


def test_missing_file_is_told_from_a_changed_one(folder):
    (folder / "points.jsonl").unlink()
    with pytest.raises(RunError, match="there is no") as caught:
        read_manifest(folder).read("points.jsonl")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("name", ["points.jsonl", MANIFEST])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(folder, name, kind):
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("/dev/zero")
    begun = time.monotonic()
    with pytest.raises(RunError, match=rf"{name} cannot be read"):
        read_manifest(folder).read(name)
    assert time.monotonic() - begun < 5


def test_folder_without_a_manifest_has_none(tmp_path):
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("position", [0.1, 0.4, 0.8])
def test_flipped_bit_in_the_manifest_is_seen(folder, position):
    data = bytearray((folder / MANIFEST).read_bytes())
    data[int(len(data) * position)] ^= 1
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "entry",
    [{"files": {"../thesis.txt": "0" * 32}}, {"files": {"/etc/passwd": "0" * 32}}, {"complete": 1}, {"kind": "thesis"}],
)
def test_manifest_that_names_what_it_must_not_is_refused(folder, entry):
    value = json.loads((folder / MANIFEST).read_text()) | entry
    (folder / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


def test_known_digests_are_not_taken_anew(folder):
    before = read_manifest(folder).files
    (folder / "points.jsonl").write_bytes(b"changed meanwhile")
    write_manifest(folder, "curve", NAMES, complete=True, known=before)
    with pytest.raises(RunError, match="not the file that Frostline wrote"):
        read_manifest(folder).read("points.jsonl")


def test_new_folder_is_marked_and_held_alone(tmp_path):
    with holding(tmp_path / "mine"):
        assert not read_manifest(tmp_path / "mine").complete
        with pytest.raises(RunError, match="another process is writing curve 'mine'"), holding(tmp_path / "mine"):
            pass
    with holding(tmp_path / "mine"):
        pass


def test_failing_start_removes_what_it_made_and_nothing_else(tmp_path):
    with pytest.raises(KeyError), holding(tmp_path / "mine"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()  # by someone else
    with pytest.raises(KeyError), holding(tmp_path / "mine"):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    with pytest.raises(KeyError), holding(tmp_path / "mine"):
        (tmp_path / "mine/thesis.txt").write_text("put there meanwhile")
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine", tmp_path / "mine/thesis.txt"]


def test_failing_start_leaves_a_folder_of_ours_whole(folder):
    before = everything(folder)
    with pytest.raises(KeyError), holding(folder):
        raise KeyError
    assert everything(folder) == before


def test_what_is_kept_stays_when_the_block_fails(tmp_path):
    with pytest.raises(KeyError), holding(tmp_path / "mine") as held:
        held.keep()
        raise KeyError
    assert read_manifest(tmp_path / "mine") is not None


@pytest.mark.parametrize("name", ["thesis.txt", "model/thesis.txt", "log.txt", ".hidden", "lock", "points.jsonl"])
def test_folder_with_anything_of_others_is_refused(tmp_path, name):
    path = tmp_path / "mine" / name
    path.parent.mkdir(parents=True)
    path.write_text("years of work")
    with pytest.raises(RunError, match="exists and is no curve"), holding(tmp_path / "mine"):
        pass
    assert everything(tmp_path / "mine") == {name: b"years of work"}


def test_manifest_of_another_program_is_no_mark(tmp_path):
    (tmp_path / MANIFEST).write_text('{"name": "a web page", "icons": []}')
    with pytest.raises(RunError, match=r"manifest\.json is damaged"), holding(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / MANIFEST]


def test_folder_of_another_kind_is_refused(folder):
    with pytest.raises(RunError, match="holds a curve, not a run"):
        check_ours(folder, "run", NAMES, other=OTHER)


def test_start_that_was_killed_before_its_mark_leaves_the_name_free(tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / f".{MANIFEST}.0a1b2c3d.part").write_bytes(b"{")
    with holding(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"lock", MANIFEST}


@pytest.mark.parametrize("name", ["points.jsonl", "log.txt", "lock", "model"])
def test_link_inside_a_folder_of_ours_is_refused(folder, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    if name == "model":
        (folder / name).rename(elsewhere)
    else:
        (folder / name).unlink(missing_ok=True)
        elsewhere.write_text("precious")
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{name} is a symbolic link"), holding(folder):
        pass
    assert elsewhere.exists()
    remove_files(folder, NAMES)
    assert (folder / name).is_symlink()
    assert elsewhere.is_file() or everything(elsewhere) == {"model.json": b"{}"}


def test_linked_folder_itself_is_fine(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    with holding(tmp_path / "link"):
        assert read_manifest(tmp_path / "link").read("points.jsonl") == b"1\n"


def test_only_exact_names_are_removed_and_folders_only_when_empty(folder):
    (folder / "model/thesis.txt").write_text("years of work")
    (folder / "log.txt").mkdir()
    (folder / "log.txt/inside.txt").write_text("more work")
    remove_files(folder, NAMES)
    assert everything(folder).keys() == {MANIFEST, "model/thesis.txt", "log.txt/inside.txt"}
    (folder / "model/thesis.txt").unlink()
    remove_files(folder, NAMES)
    assert not (folder / "model").exists()


def test_only_temporary_files_of_ours_are_removed(folder):
    ours = [folder / ".points.jsonl.0a1b2c3d.part", folder / "model/.model.json.0a1b2c3d.part"]
    others = [folder / ".thesis.txt.0a1b2c3d.part", folder / ".points.jsonl.mine.part", folder / "model/.x.part"]
    for path in (*ours, *others):
        path.write_bytes(b"half")
    remove_parts(folder, NAMES)
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)


def test_failing_start_leaves_a_manifest_as_it_was(tmp_path):
    place = tmp_path / "mine"
    with holding(place) as held:
        held.keep()
    before = everything(place)
    with pytest.raises(KeyError), holding(place) as held:
        (place / "points.jsonl").write_bytes(b"1\n")
        held.made.add("points.jsonl")
        write_manifest(place, "curve", NAMES)
        raise KeyError
    assert everything(place) == before
