"""Scanning image files, and the stored results."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from PIL import Image

from frostline._utils.hashing import digest_bytes, row_id_of_bytes
from frostline._utils.progress import Silent
from frostline.data.dataset import Splits
from frostline.data.decoding.decode import decode_image
from frostline.data.scan import scan
from frostline.data.scan_file import ScannedFile, scan_file
from frostline.data.splits import difference_hash
from frostline.errors import StorageError
from tests.class_folders import garments, write_classes, write_hostile


def test_a_look_has_identity_and_hash(tmp_path: Path, fashion: Splits) -> None:
    for path in write_classes(tmp_path, fashion.train, 8).rglob("*.*"):
        data = path.read_bytes()
        pixels = decode_image(data)
        assert scan_file(path)[0] == ScannedFile(
            row_id_of_bytes(data), difference_hash(pixels), max(pixels.shape[:2]), None, scan_file(path)[0].tones
        )


def test_hostile_files_are_named_with_a_reason(tmp_path: Path, fashion: Splits) -> None:
    for name, reason in write_hostile(tmp_path, fashion.train).items():
        look = scan_file(tmp_path / name)[0]
        assert look.reason is not None and look.reason.startswith(reason)
        assert "\n" not in look.reason
    assert scan_file(tmp_path / "missing.png")[0].reason == "cannot be opened: No such file or directory"
    assert scan_file(tmp_path)[0].reason == "cannot be opened: it is a folder"


def test_the_processes_that_look_do_not_load_torch() -> None:
    code = "import sys, frostline.data.scan_file; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Counting(Silent):
    """How many files were looked at."""

    def __init__(self) -> None:
        self.totals: list[int] = []

    def bar(self, label: str, total: int, unit: str):
        self.totals.append(total)
        return super().bar(label, total, unit)


@pytest.fixture
def files(tmp_path: Path, fashion: Splits) -> list[Path]:
    write_classes(tmp_path / "images", fashion.train, 8)
    return sorted((tmp_path / "images").rglob("*.*"))


COLORS = {"red": (230, 20, 20), "blue": (20, 20, 230)}


def write_square(path: Path, color: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), COLORS[color]).save(path)
    return path


def scanned(files: list[Path], root: Path, cache: Path, rest: float = 0) -> tuple[list[ScannedFile], int]:
    """Return the results, and how many files were read; files modified just now count as at rest."""
    progress = Counting()
    return scan(files, root, cache, progress, 1, rest_seconds=rest), progress.totals[0]


def entries(cache: Path) -> dict[str, list]:
    (memo,) = (cache / "scans").glob("*.json")
    return json.loads(memo.read_bytes().splitlines()[1])


def test_a_second_scan_looks_at_nothing_and_a_changed_file_again(
    files: list[Path], tmp_path: Path, cache: Path, fashion: Splits
) -> None:
    write_hostile(files[0].parent, fashion.train)
    files = [*files, files[0].with_name("text.png"), tmp_path / "missing.png"]
    first, count = scanned(files, tmp_path, cache)
    assert count == len(files)
    assert scanned(files, tmp_path, cache) == (first, 1)  # what could not be opened is tried again
    files[3].write_bytes(files[4].read_bytes())
    again, count = scanned(files[::-1], tmp_path, cache)
    assert count == 2
    assert again[::-1] == [*first[:3], first[4], *first[4:]]


def test_files_that_are_gone_are_forgotten(files: list[Path], tmp_path: Path, cache: Path) -> None:
    scanned(files, tmp_path, cache)
    scanned(files[:2], tmp_path, cache)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other", "old"])
def test_a_damaged_memo_is_made_anew(files: list[Path], tmp_path: Path, cache: Path, damage: str) -> None:
    first, _ = scanned(files, tmp_path, cache)
    (memo,) = (cache / "scans").glob("*.json")
    whole = memo.read_bytes()
    row = first[5].row_id.hex().encode()
    damaged = {
        "cut": whole[: len(whole) // 2],
        "bit": whole.replace(row, row[::-1]),
        "empty": b"",
        "other": b"[1, 2]",
        "old": whole.replace(b"version 4", b"version 3"),
    }
    memo.write_bytes(damaged[damage])
    assert scanned(files, tmp_path, cache) == (first, len(files))
    assert scanned(files, tmp_path, cache) == (first, 0)


def forged(cache: Path, change: Callable[[list], object]) -> None:
    """Change an entry of the memo and give it the checksum that it then needs."""
    (memo,) = (cache / "scans").glob("*.json")
    first, second = memo.read_bytes().splitlines()
    files = json.loads(second)
    change(files[sorted(files)[5]])
    body = json.dumps(files).encode()
    memo.write_bytes(json.dumps(json.loads(first) | {"checksum": digest_bytes(body)}).encode() + b"\n" + body)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.__setitem__(6, "12"),
        lambda entry: entry.__setitem__(6, 12),
        lambda entry: entry.__setitem__(7, "g" * 16),
        lambda entry: entry.__setitem__(8, -1),
        lambda entry: entry.__setitem__(2, "9"),
        lambda entry: entry.__setitem__(9, 4),
        lambda entry: entry.pop(),
    ],
)
def test_a_memo_that_breaks_the_schema_is_made_anew(
    files: list[Path], tmp_path: Path, cache: Path, change: Callable[[list], object]
) -> None:
    first, _ = scanned(files, tmp_path, cache)
    forged(cache, change)
    assert scanned(files, tmp_path, cache) == (first, len(files))


def test_a_pipe_in_place_of_the_memo_is_not_waited_for(files: list[Path], tmp_path: Path, cache: Path) -> None:
    first, _ = scanned(files, tmp_path, cache)
    (memo,) = (cache / "scans").glob("*.json")
    memo.unlink()
    os.mkfifo(memo)
    assert scanned(files, tmp_path, cache) == (first, len(files))


def aged(paths: Iterable[Path]) -> None:
    for path in paths:
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_folders_of_equal_times_and_sizes_can_be_swapped(tmp_path: Path, cache: Path) -> None:
    places = [write_square(tmp_path / "p" / name / "0.bmp", name) for name in COLORS]
    aged(places)
    first, _ = scanned(places, tmp_path / "p", cache)
    for source, target in (("red", "x"), ("blue", "red"), ("x", "blue")):
        (tmp_path / "p" / source).rename(tmp_path / "p" / target)
    again, count = scanned(places, tmp_path / "p", cache)
    assert again == first[::-1] != first
    assert count == 2


def test_an_edit_in_place_with_its_time_put_back_is_seen(tmp_path: Path, cache: Path) -> None:
    place = write_square(tmp_path / "a.bmp", "red")
    other = write_square(tmp_path / "b.bmp", "blue").read_bytes()
    aged([place])
    first, _ = scanned([place], tmp_path, cache)
    time.sleep(0.02)  # a clock of the file system ticks
    place.write_bytes(other)
    aged([place])
    again, count = scanned([place], tmp_path, cache)
    assert (again[0].row_id, count) == (row_id_of_bytes(other), 1)
    assert again != first


def test_hard_links_can_be_swapped(tmp_path: Path, cache: Path) -> None:
    places = [write_square(tmp_path / f"{name}.bmp", name) for name in COLORS]
    aged(places)
    first, _ = scanned(places, tmp_path, cache)
    copies = [tmp_path / f"{name}.kept" for name in COLORS]
    for place, copy in zip(places, copies, strict=True):
        copy.hardlink_to(place)
        place.unlink()
    for place, copy in zip(places, copies[::-1], strict=True):
        place.hardlink_to(copy)
    assert scanned(places, tmp_path, cache)[0] == first[::-1]


def test_a_file_looked_at_in_the_second_of_its_change_is_read_again(tmp_path: Path, cache: Path) -> None:
    place = write_square(tmp_path / "a.bmp", "red")
    first, _ = scanned([place], tmp_path, cache, rest=60)
    assert scanned([place], tmp_path, cache, rest=60) == (first, 1)
    (entry,) = entries(cache).values()
    facts = place.stat()
    assert entry[:5] == [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
    assert scanned([place], tmp_path, cache) == (first, 0)


def test_known_content_under_another_name_is_not_decoded_again(tmp_path: Path, cache: Path) -> None:
    place = write_square(tmp_path / "a.bmp", "red")
    scanned([place], tmp_path, cache)
    forged_side = 77
    (memo,) = (cache / "scans").glob("*.json")
    first, second = memo.read_bytes().splitlines()
    files = json.loads(second)
    next(iter(files.values()))[8] = forged_side
    body = json.dumps(files).encode()
    memo.write_bytes(json.dumps(json.loads(first) | {"checksum": digest_bytes(body)}).encode() + b"\n" + body)
    place.rename(tmp_path / "b.bmp")
    ((file,), count) = scanned([tmp_path / "b.bmp"], tmp_path, cache)
    assert (file.side, count) == (forged_side, 1)


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
        scan(files, tmp_path, cache, Interrupted(), 1, rest_seconds=0)
    assert scanned(files, tmp_path, cache)[1] == len(files) - 11


def test_what_a_killed_scan_left_half_written_is_removed(files: list[Path], tmp_path: Path, cache: Path) -> None:
    (cache / "scans").mkdir()
    left, own = cache / "scans" / ".0123.json.0123abcd.part", cache / "scans" / "notes.part"
    left.write_text("half of")
    own.write_text("a person's")
    scanned(files, tmp_path, cache)
    assert own.is_file() and not left.exists()
    assert len(entries(cache)) == len(files)


def test_a_cache_that_cannot_be_written_is_one_clear_line(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="--cache-dir"):
        scan(files, tmp_path, tmp_path / "file", None, 1)


def test_a_name_that_is_no_utf8_is_remembered(files: list[Path], tmp_path: Path, cache: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    odd.write_bytes(files[0].read_bytes())
    first, _ = scanned([odd], tmp_path, cache)
    assert first[0].reason is None
    assert scanned([odd], tmp_path, cache) == (first, 0)


MANY = 70
SCRIPT = """
import sys
from pathlib import Path
print("begun", flush=True)
from frostline.data.scan import scan
files = sorted(Path("many").iterdir())
files = scan(files, Path("many"), Path("cache"), None, 2)
print(len(files), sum(file.reason is None for file in files), files[1].row_id.hex())
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
