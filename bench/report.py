"""What a report costs after a full run: seconds, peak memory and bytes, and whether it is the same twice.

    python bench/report.py [--cache-dir DIR] [--run runs/NAME]

Trains on all of Fashion-MNIST with the weights that ship, unless a finished run is given. Each report is written by a
process of its own, whose start is counted. Asserts the limits below.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import machine
from frostline import TrainConfig, fit
from frostline.runs.folder import Run

SECONDS, GIB, MIB = 30, 1.5, 3
WRITE = (
    "import resource, sys; from pathlib import Path; from frostline.report.page import write_report; "
    "from frostline.runs.folder import Run; write_report(Run(sys.argv[1]), Path(sys.argv[2])); "
    "spent = resource.getrusage(resource.RUSAGE_SELF); "
    "peak = Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]; "  # ru_maxrss outlives a fork
    "print(int(peak) * 1024, spent.ru_utime + spent.ru_stime)"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache-dir", default=None)
    parser.add_argument("--run", default=None)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        run = Run(options.run) if options.run else None
        if run is None:
            config = TrainConfig(data="fashion-mnist", weights="bundled")
            run = fit(config, output_dir=Path(folder, "runs"), cache_dir=options.cache_dir)
        pages = []
        for number in range(2):
            path, begun = Path(folder, f"report-{number}.html"), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", WRITE, run.folder, path], check=True, capture_output=True, text=True
            )
            seconds, (peak, busy) = time.perf_counter() - begun, map(float, done.stdout.split())
            pages.append(path.read_bytes())
            print(
                f"{seconds:.1f} s ({busy:.1f} of a processor), peak {peak / 2**30:.2f} GiB, {len(pages[-1]):,} bytes",
                flush=True,
            )
            assert seconds <= SECONDS
            assert peak <= GIB * 2**30
            assert len(pages[-1]) <= MIB * 2**20
        assert pages[0] == pages[1], "the same run gave other bytes"
        assert not re.search(rb"https?://(?!www\.w3\.org/)", pages[0]), "an address is named"


if __name__ == "__main__":
    main()
