"""The machine: cores and memory. Needs no torch."""

import os
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far, in bytes; 0 where it is unknown (Windows)."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, getrusage also counts the parent process
        peaks = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if peaks:
            return int(peaks[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
