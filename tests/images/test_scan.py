"""Every file is looked at once; what was seen is remembered, and looked at again only when the file was changed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.errors import StorageError
from frostline.hashing import row_id_of_bytes
from frostline.images.dataset import Splits
from frostline.images.look import Look
from frostline.images.scan import scan
from frostline.progress import Silent
from tests.class_folders import garments, write_classes, write_hostile


class Counting(Silent):
    """How many files were looked at."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    def bar(self, label: str, total: int, unit: str):
        self.totals.append(total)
        return super().bar(label, total, unit)


@pytest.fixture
def files(tmp_path: Path, fashion: Splits) -> list[Path]:
    write_classes(tmp_path / "pictures", fashion.train, 8)
    return sorted((tmp_path / "pictures").rglob("*.*"))


def looked(files: list[Path], root: Path, cache: Path) -> tuple[list[Look], int]:
    progress = Counting()
    return scan(files, root, cache, progress, 1), progress.totals[0]


def test_a_second_scan_looks_at_nothing_and_a_changed_file_again(
    files: list[Path], tmp_path: Path, cache: Path, fashion: Splits
) -> None:
    write_hostile(files[0].parent, fashion.train)
    files = [*files, files[0].with_name("text.png"), tmp_path / "missing.png"]
    first, count = looked(files, tmp_path, cache)
    assert count == len(files)
    assert looked(files, tmp_path, cache) == (first, 1)  # what could not be opened is tried again
    files[3].write_bytes(files[4].read_bytes())
    again, count = looked(files[::-1], tmp_path, cache)
    assert count == 2
    assert again[::-1] == [*first[:3], first[4], *first[4:]]


def test_files_that_are_gone_are_forgotten(files: list[Path], tmp_path: Path, cache: Path) -> None:
    looked(files, tmp_path, cache)
    looked(files[:2], tmp_path, cache)
    (memo,) = (cache / "scans").iterdir()
    assert len(json.loads(memo.read_text())["files"]) == 2


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "old"])
def test_a_damaged_memo_is_made_anew(files: list[Path], tmp_path: Path, cache: Path, damage: str) -> None:
    first, _ = looked(files, tmp_path, cache)
    (memo,) = (cache / "scans").iterdir()
    whole = memo.read_bytes()
    row = first[5].row_id.hex().encode()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "bit": whole.replace(row, row[::-1]),
        "empty": b"",
        "other": b"[1, 2]",
        "old": whole.replace(b"version 3", b"version 2"),
    }
    memo.write_bytes(damaged[damage])
    assert looked(files, tmp_path, cache) == (first, len(files))
    assert memo.read_bytes() == whole


def test_what_was_seen_before_an_interruption_is_kept(files: list[Path], tmp_path: Path, cache: Path) -> None:
    class Interrupted(Counting):
        def advance(self, amount: int) -> None:
            self.left -= amount
            if self.left < 0:
                raise KeyboardInterrupt

        def bar(self, label: str, total: int, unit: str):
            self.left = 10
            return self

        def __enter__(self) -> "Interrupted":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        scan(files, tmp_path, cache, Interrupted(), 1)
    assert looked(files, tmp_path, cache)[1] == len(files) - 11


def test_a_cache_that_cannot_be_written_is_one_clear_line(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--cache-dir"):
        scan(files, tmp_path, tmp_path / "file", None, 1)


def test_a_name_that_is_no_utf8_is_remembered(files: list[Path], tmp_path: Path, cache: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    odd.write_bytes(files[0].read_bytes())
    first, _ = looked([odd], tmp_path, cache)
    assert first[0].reason is None
    assert looked([odd], tmp_path, cache) == (first, 0)


MANY = 70
SCRIPT = """
import sys
from pathlib import Path
print("begun", flush=True)
from frostline.images.scan import scan
files = sorted(Path("many").iterdir())
looks = scan(files, Path("many"), Path("cache"), None, 2)
print(len(looks), sum(look.reason is None for look in looks), looks[1].row_id.hex())
"""


def test_processes_share_the_work_and_do_not_run_the_script_again(tmp_path: Path, fashion: Splits) -> None:
    """A script without ``if __name__ == "__main__"`` would be run by every new process."""
    from PIL import Image

    folder = tmp_path / "many"
    folder.mkdir()
    for i, pixels in enumerate(garments(fashion.train, 8, MANY)):
        Image.fromarray(pixels).save(folder / f"{i:04d}.png")
    (folder / "0000.png").write_bytes(b"")
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    row = row_id_of_bytes((folder / "0001.png").read_bytes()).hex()
    assert done.stdout.splitlines() == ["begun", f"{MANY} {MANY - 1} {row}"]
