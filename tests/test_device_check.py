"""tools/device_check.py: the whole script in small on the CPU, and without the device."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tools.device_check import PARTS, TESTS

ROOT = Path(__file__).parents[1]


def check(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "device_check.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_table_has_every_part() -> None:
    done = check("--device", "cpu", "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    table = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert table["device"].startswith("cpu (")
    assert table["versions"].startswith(f"torch {torch.__version__}")
    assert re.search(r"^1 passed", table["tests on cpu"])
    ways = [found for name, found in table.items() if name.startswith("frozen AlexNet, 224 px, ")]
    assert len(ways) == 2 and all(re.match(r"[\d,]+ images/s, [\d.]+ of the matrix product", way) for way in ways)
    assert re.match(
        r"not reached: test accuracy 0\.\d{4} in \d+ s", table["AlexNet fine-tuned to 0.94 on Fashion-MNIST"]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_missing_device_is_one_line() -> None:
    done = check()
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"device_check: no device to check \(.*'cuda' is not available.*\)\n", done.stderr)


def test_the_parts_take_at_most_eight_minutes() -> None:
    assert sum(seconds for _, seconds in PARTS.values()) <= 8 * 60


def test_every_file_with_tests_on_the_device_is_run() -> None:
    using = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if re.search(r"def test_\w+\([^)]*\bdevice\b", path.read_text(encoding="utf-8"))
    }
    assert using == set(TESTS)
