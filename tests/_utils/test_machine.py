"""Cores and memory."""

import subprocess
import sys

from frostline._utils.machine import cores, peak_memory_bytes

MEBIBYTE = 1 << 20


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_peak_memory_includes_freed_memory() -> None:
    code = """
from frostline._utils.machine import peak_memory_bytes
before = peak_memory_bytes()
block = bytes(range(256)) * (200 * 4096)  # 200 MiB
del block
print(peak_memory_bytes() - before)
"""
    grown = int(run_python(code)) / MEBIBYTE
    assert 190 <= grown <= 260


def test_peak_memory_excludes_the_parent_process() -> None:
    code = """
import subprocess, sys
block = bytes(range(256)) * (768 * 4096)  # 768 MiB
child = "from frostline._utils.machine import peak_memory_bytes; print(peak_memory_bytes())"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout)
"""
    assert int(run_python(code)) / MEBIBYTE < 700


def test_cores_respect_the_affinity() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from frostline._utils.machine import cores; "
    assert run_python(code + "print(cores())") == "1\n"
    assert cores() >= 1


def test_peak_memory_of_this_process_is_plausible() -> None:
    assert 50 * MEBIBYTE < peak_memory_bytes() < 64 * 1024 * MEBIBYTE
