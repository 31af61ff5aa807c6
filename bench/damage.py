"""Does a damaged file give the right answer or a clear error, and nothing else?

    python -m bench damage [--cases 20000] [--seed 0] [--jobs 2] [--readers predict,runs] [--folder DIR]
    python -m bench damage --case "READER|FILE|KIND|SEED"

Each case damages one file of a run, bundle, cache, table, study, weight file or export (`tests/robustness`), lets one
reader read it in a process that is watched, and compares with what the whole file gives. Right is the same answer, or
exit code 2 with the file's name; anything else is a fault. Prints a table by reader, then each kind of fault with a
command that repeats it; exits 1 when there is a fault.

About 1 hour on 2 cores.
"""

import contextlib
import queue
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bench.common.options import start
from bench.common.tables import Table
from tests.robustness.readers import READERS
from tests.robustness.trials import REFUSED, RIGHT, Case, Verdict, Watched, draw_cases, prepare

Found = list[tuple[Case, Verdict]]


def try_all(cases: list[Case], material: Path, folder: Path, jobs: int) -> Found:
    """Try cases in several processes at once."""
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    found: Found = []

    def work(number: int) -> None:
        (folder / str(number)).mkdir()
        with Watched(material, folder / str(number) / "place") as watched:
            while True:
                try:
                    case = waiting.get_nowait()
                except queue.Empty:
                    return
                found.append((case, watched.try_case(case)))
                if len(found) % 100 == 0:
                    print(f"{len(found):,} of {len(cases):,}", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(jobs)]
    for thread in threads:
        thread.start()
    with contextlib.suppress(KeyboardInterrupt):  # show what was found so far
        for thread in threads:
            thread.join()
    return list(found)


def show(found: Found, seconds: float) -> int:
    """Print the tables; return how many faults there were."""
    table = Table("reader:18", "right:>7", "refused:>7", "faults:>7")
    for name in READERS:
        counts = Counter(verdict.what for case, verdict in found if case.reader == name)
        if counts:
            faults = counts.total() - counts[RIGHT] - counts[REFUSED]
            table.row(name, f"{counts[RIGHT]:,}", f"{counts[REFUSED]:,}", f"{faults:,}")
    faulty = [(case, verdict) for case, verdict in found if verdict.fault]
    print(f"{len(found):,} cases in {seconds:.0f} s: {len(faulty):,} faults")
    kinds: dict[tuple[str, ...], Found] = {}
    for case, verdict in sorted(faulty, key=lambda one: (one[0].reader, one[0].file, one[1].what)):
        kinds.setdefault((case.reader, case.file, verdict.what, verdict.shown[:24]), []).append((case, verdict))
    for (reader, file, what, _), alike in kinds.items():
        case, verdict = alike[0]
        damages = ", ".join(f"{kind} {n}" for kind, n in Counter(one.kind for one, _ in alike).most_common(4))
        print(f"\n{what}, {len(alike)} x: {reader}, {file} ({damages})\n  {' '.join(verdict.shown.split())}")
        print(f'  python -m bench damage --case "{case.line}"')
    return len(faulty)


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        cases=20_000,
        seed=0,
        jobs=2,
        readers=",".join(READERS),
        folder={"type": Path, "help": "where the files are built, and found again by the next call"},
        case={"help": "READER|FILE|KIND|SEED of one case"},
    )
    with tempfile.TemporaryDirectory() as scratch:
        material = (options.folder or Path(scratch)).absolute() / "material"
        prepare(material)
        if options.case:
            reader, file, kind, seed = options.case.split("|")
            cases = [Case(reader, file, kind, int(seed))]
        else:
            readers = options.readers.split(",")
            cases = [
                case for case in draw_cases(material / "base", options.cases, options.seed) if case.reader in readers
            ]
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=material.parent) as places:
            found = try_all(cases, material, Path(places), min(options.jobs, len(cases)))
        if options.case:
            print(found[0][1])
        faults = show(found, time.perf_counter() - begun)
    sys.exit(1 if faults else 0)
