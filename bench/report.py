"""What does writing a run's report cost in seconds, memory and bytes, and is it the same twice?

    python -m bench report [--run runs/NAME] [--limit N] [--cache-dir DIR]

Trains on Fashion-MNIST with the bundled weights, unless a finished run is given. Each report is written by a process of
its own, whose start is timed, too. Asserts at most 30 s, 1.5 GiB and 3 MiB, equal bytes, and no outside address.

About 4 minutes on 2 cores.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.common.machine import GIB, MIB
from bench.common.options import start
from bench.common.timing import Stopwatch
from frostline import TrainConfig, fit
from frostline.runs.folder import Run

MOST_SECONDS, MOST_MEMORY, MOST_BYTES = 30, 1.5 * GIB, 3 * MIB
WRITE = (
    "import sys; from pathlib import Path; from frostline.report.page import write_report; "
    "from frostline._utils.machine import peak_memory_bytes; from frostline.runs.folder import Run; "
    "write_report(Run(sys.argv[1]), Path(sys.argv[2])); print(peak_memory_bytes())"
)


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, run={}, limit={"type": int}, cache_dir={"type": Path})
    with tempfile.TemporaryDirectory() as folder:
        if options.run:
            run = Run(options.run)
        else:
            config = TrainConfig(data="fashion-mnist", weights="bundled", limit=options.limit)
            run = fit(config, output_dir=Path(folder, "runs"), cache_dir=options.cache_dir)
        pages = []
        for number in range(2):
            path = Path(folder, f"report-{number}.html")
            with Stopwatch() as watch:
                command = [sys.executable, "-c", WRITE, run.folder, path]
                peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            pages.append(path.read_bytes())
            print(
                f"{watch.seconds:.1f} s ({watch.processor_seconds:.1f} of a processor), peak {peak / GIB:.2f} GiB, "
                f"{len(pages[-1]):,} bytes",
                flush=True,
            )
            assert watch.seconds <= MOST_SECONDS
            assert peak <= MOST_MEMORY
            assert len(pages[-1]) <= MOST_BYTES
        assert pages[0] == pages[1], "the same run gave other bytes"
        assert not re.search(rb"https?://(?!www\.w3\.org/)", pages[0]), "an outside address is named"
