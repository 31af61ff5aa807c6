"""Manifests: listed files are verified when they are read."""

import json
import os
import time
from pathlib import Path

import pytest

from frostline._utils.hashing import digest_bytes
from frostline._utils.manifest import MANIFEST, read_manifest, write_manifest
from frostline.errors import RunError

NAMES = ("points.jsonl", "model/model.json", "log.txt")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete folder with two files."""
    place = tmp_path / "mine"
    (place / "model").mkdir(parents=True)
    (place / "points.jsonl").write_bytes(b"1\n")
    (place / "model/model.json").write_bytes(b"{}")
    write_manifest(place, "curve", NAMES, complete=True)
    return place


def test_listed_files_are_read_and_missing_ones_omitted(folder):
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


def test_unlisted_file_is_refused_in_a_complete_folder(folder):
    (folder / "extra.json").write_bytes(b"{}")
    with pytest.raises(RunError, match=r"extra\.json is not the file that Frostline wrote \(manifest\.json does not"):
        read_manifest(folder).read("extra.json")
    write_manifest(folder, "curve", ["points.jsonl"])
    assert read_manifest(folder).read("extra.json") == b"{}"


def test_missing_file_is_not_called_changed(folder):
    (folder / "points.jsonl").unlink()
    with pytest.raises(RunError, match="there is no") as caught:
        read_manifest(folder).read("points.jsonl")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


@pytest.mark.parametrize("name", ["points.jsonl", MANIFEST])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_anything_but_a_file_is_refused_at_once(folder, name, kind):
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
def test_flipped_bit_in_the_manifest_is_detected(folder, position):
    data = bytearray((folder / MANIFEST).read_bytes())
    data[int(len(data) * position)] ^= 1
    (folder / MANIFEST).write_bytes(data)
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


@pytest.mark.parametrize(
    "entry",
    [{"files": {"../thesis.txt": "0" * 32}}, {"files": {"/etc/passwd": "0" * 32}}, {"complete": 1}, {"kind": "thesis"}],
)
def test_manifest_with_invalid_entries_is_refused(folder, entry):
    value = json.loads((folder / MANIFEST).read_text()) | entry
    (folder / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(RunError, match=r"manifest\.json is damaged"):
        read_manifest(folder)


def test_known_digests_are_not_recomputed(folder):
    before = read_manifest(folder).files
    (folder / "points.jsonl").write_bytes(b"changed meanwhile")
    write_manifest(folder, "curve", NAMES, complete=True, known=before)
    with pytest.raises(RunError, match="not the file that Frostline wrote"):
        read_manifest(folder).read("points.jsonl")
