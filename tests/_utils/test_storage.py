"""Atomic writing: failed and killed writers and full disks leave the old file unchanged."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from frostline._utils.storage import (
    cache_dir,
    check_output,
    clear_parts,
    json_text,
    lock_in,
    replacing,
    write_bytes,
    write_json,
)
from frostline.errors import ConfigError, StorageError


def parts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.part"))


def test_written_file_is_complete_without_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    write_bytes(path, b"one")
    write_bytes(path, memoryview(b"two"))
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_json_keeps_the_order_of_keys(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"b": 1, "a": "é"}
    assert text.index("b") < text.index("a")
    assert "é" in text


def test_failed_writer_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="in the middle"), replacing(path) as beside:
        beside.write_bytes(b"half")
        raise RuntimeError("in the middle")
    assert path.read_bytes() == b"old"
    assert parts(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
from frostline._utils.storage import replacing
with replacing(Path(sys.argv[1])) as beside:
    beside.write_bytes(b"half")
    print("written", flush=True)
    time.sleep(60)
"""


def test_killed_writer_keeps_the_old_file_and_its_part_is_cleared(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with subprocess.Popen([sys.executable, "-c", KILLED, path], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_bytes() == b"old"
    assert [part.read_bytes() for part in parts(tmp_path)] == [b"half"]
    clear_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


FULL = """
import resource, sys
from pathlib import Path
from frostline.errors import StorageError
from frostline._utils.storage import write_bytes
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_bytes(Path(sys.argv[1]), bytes(200_000), "--cache-dir chooses another place")
except StorageError as error:
    print(error)
"""


def test_full_disk_is_one_clear_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True)
    assert done.stdout == (
        f"cannot use {path}: the file would be larger than the system allows here: choose another place "
        "(--cache-dir chooses another place). Existing files were not modified.\n"
    )
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_device_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="the disk is full"), replacing(path), Path("/dev/full").open("wb") as full:
        full.write(bytes(100))
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("below", ["new", "folder/new"])
def test_file_in_place_of_a_folder_is_named(tmp_path: Path, below: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    with pytest.raises(
        StorageError, match=r"(already exists|is a file, not a folder).*Existing files were not modified"
    ):
        write_bytes(file / below, b"new")
    assert file.read_bytes() == b"old"


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match=f"cannot use {tmp_path / 'taken'}: "):
        write_bytes(tmp_path / "taken", b"new")
    assert parts(tmp_path) == []


def test_only_parts_are_cleared(tmp_path: Path) -> None:
    names = (".hidden", "a.part", "b", ".notes.part", ".b.0123abc.part", ".b.0123ABCD.part", ".0123abcd.part")
    kept = [tmp_path / name for name in names]
    for path in [*kept, tmp_path / ".b.0123abcd.part"]:
        path.write_bytes(b"")
    link = tmp_path / ".link.0123abcd.part"
    link.symlink_to(kept[0])
    clear_parts(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, link])


def test_cache_is_the_chosen_one_then_the_variable_then_the_platform(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_dir(tmp_path) == tmp_path
    assert cache_dir("~/there") == Path.home() / "there"
    assert cache_dir() == cache
    monkeypatch.delenv("FROSTLINE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "frostline"


def test_json_has_a_line_for_each_row_of_a_matrix() -> None:
    value = {"a": [1, 2.5, None], "m": [[1, 0], [0, 1]], "s": ["x", "é"], "e": {}, "n": {"k": [], "t": (True,)}, 3: "n"}
    text = json_text(value)
    assert json.loads(text) == json.loads(json.dumps(value))
    assert text.splitlines()[1:5] == ['  "a": [1,2.5,null],', '  "m": [', "    [1,0],", "    [0,1]"]


def test_json_of_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"file": "caf\udce9"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"file": "caf\udce9"}


def test_output_file_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    path, pipe, link = tmp_path / "page.html", tmp_path / "pipe", tmp_path / "link"
    check_output(path, overwrite=False)
    path.write_text("mine")
    link.symlink_to(tmp_path / "nowhere")
    os.mkfifo(pipe)
    for taken in (path, link):
        with pytest.raises(StorageError, match="exists: --overwrite replaces it, or --output chooses another place"):
            check_output(taken, overwrite=False)
        check_output(taken, overwrite=True)
    for never in (tmp_path, pipe, Path("/dev/null")):
        with pytest.raises(StorageError, match="is a folder or no regular file"):
            check_output(never, overwrite=True)
    for impossible in ("", "/", "."):
        with pytest.raises(ConfigError, match="expected the name of a file"):
            check_output(Path(impossible), overwrite=True)


@pytest.mark.parametrize("name", ["folder", "link", "pipe"])
def test_lock_that_is_not_a_file_is_not_opened(tmp_path: Path, name: str) -> None:
    lock = tmp_path / "lock"
    {"folder": lock.mkdir, "link": lambda: lock.symlink_to(tmp_path / "made"), "pipe": lambda: os.mkfifo(lock)}[name]()
    with pytest.raises(FileExistsError):
        lock_in(tmp_path)
    assert not (tmp_path / "made").exists()
