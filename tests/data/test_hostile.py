"""Hundreds of invalid files among valid ones: each is named, nothing hangs, memory stays low."""

import csv
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.data.scan_file import scan_file
from tests.conftest import COMMAND
from tests.hostile_files import write_bad, write_good, write_odd

GOOD, BAD = 700, 200
MEGABYTE = 1 << 20
TRAIN = (
    "train", "images", "--head", "ridge", "--image-size", 63, "--taps", "none", "--weights", "bundled",
    "--prior", "none", "--no-report",
)  # fmt: skip
PEAK = """
import sys
from pathlib import Path
from frostline.data.scan_file import scan_file

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

first, *rest = sorted(Path(sys.argv[1]).iterdir())
scan_file(first)
before = peak()
for path in rest:
    scan_file(path)
print(peak() - before)
"""


def train(place: Path, name: str) -> tuple[subprocess.CompletedProcess[str], dict]:
    command = [COMMAND, *map(str, TRAIN), "--name", name, "--cache-dir", place / f"cache {name}"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    return done, json.loads((place / "runs" / name / "metrics.json").read_text()) if done.returncode == 0 else {}


def test_all_good_images_train_and_each_bad_one_is_named(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_good(images, GOOD)
    odd = write_odd(images / "class 0")
    clean, before = train(tmp_path, "clean")
    assert (clean.returncode, clean.stderr) == (0, "")
    bad = write_bad(images / "class 1", BAD)
    done, metrics = train(tmp_path, "hostile")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"warning: {BAD} of {GOOD + len(odd) + BAD:,} images cannot be read and are left out" in done.stdout

    named = tmp_path / "runs" / "hostile" / "bad_images.csv"
    with named.open(newline="", errors="surrogateescape") as file:
        reasons = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert sorted(reasons) == sorted(bad)
    assert all(reason and "\n" not in reason for reason in reasons.values())
    assert metrics["frozen_pass"]["images"] == GOOD + len(odd)
    assert metrics["test"] == before["test"]
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["peak_memory_bytes"] - before["peak_memory_bytes"] < 40 * MEGABYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
def test_looking_at_them_takes_little_memory(tmp_path: Path) -> None:
    write_bad(tmp_path, BAD)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, check=True, timeout=120
    )
    assert int(done.stdout) * 1024 < 60 * MEGABYTE


def test_reasons_tell_what_is_wrong(tmp_path: Path) -> None:
    write_bad(tmp_path, BAD)
    expected = {
        "empty.jpg": "is empty",
        "archive.jpeg": "is an archive: unpack it",
        "text.jpg": "is not a readable image: expected one of PNG, JPEG, BMP, GIF, WEBP, TIFF, PPM, AVIF, HEIF",
        "bomb 20000.png": "claims too many pixels: at most 100,000,000 are read",
        "folder.jpg": "cannot be opened: it is a folder",
        "dangling.png": "cannot be opened: No such file or directory",
        "loop.png": "cannot be opened: Too many levels of symbolic links",
        "pipe.jpg": "cannot be opened: it is no regular file",
    }
    assert {name: scan_file(tmp_path / name)[0].reason for name in expected} == expected


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "secret.png").chmod(stat.S_IWUSR)
    assert scan_file(tmp_path / "secret.png")[0].reason == "cannot be opened: Permission denied"


def test_a_file_of_many_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "vast.png").open("wb") as file:
        file.truncate(8 << 30)
    reason = scan_file(tmp_path / "vast.png")[0].reason
    assert reason == "cannot be opened: it has 8,589,934,592 bytes, and at most 500,000,000 are read"
