"""What does damage to a file lead to? The right answer, or exit code 2 with the file's name; anything else is a fault.

    python bench/damage.py [--cases 20000] [--seed 0] [--jobs 2] [--readers predict,runs] [--folder DIR]
    python bench/damage.py --case "READER|FILE|KIND|SEED"

Each case damages one file of a run, bundle, cache, table, study, weight file or export (`tests/robustness`), lets one
reader read it in a process that is watched, and compares with what the whole file gives. Prints a table by reader, then
each kind of fault with a line that repeats it; exits 1 when there is a fault.
"""

import argparse
import contextlib
import queue
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

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
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then is shown
        for thread in threads:
            thread.join()
    return list(found)


def show(found: Found, seconds: float) -> int:
    """Print the tables; return how many faults there were."""
    print(f"{'reader':18}{'right':>8}{'refused':>9}{'faults':>8}")
    for name in READERS:
        counts = Counter(verdict.what for case, verdict in found if case.reader == name)
        if counts:
            faults = counts.total() - counts[RIGHT] - counts[REFUSED]
            print(f"{name:18}{counts[RIGHT]:8,}{counts[REFUSED]:9,}{faults:8,}")
    faulty = [(case, verdict) for case, verdict in found if verdict.fault]
    print(f"{len(found):,} cases in {seconds:.0f} s: {len(faulty):,} faults")
    kinds: dict[tuple[str, ...], Found] = {}
    for case, verdict in sorted(faulty, key=lambda one: (one[0].reader, one[0].file, one[1].what)):
        kinds.setdefault((case.reader, case.file, verdict.what, verdict.shown[:24]), []).append((case, verdict))
    for (reader, file, what, _), alike in kinds.items():
        case, verdict = alike[0]
        damages = ", ".join(f"{kind} {n}" for kind, n in Counter(one.kind for one, _ in alike).most_common(4))
        print(f"\n{what}, {len(alike)} x: {reader}, {file} ({damages})\n  {' '.join(verdict.shown.split())}")
        print(f'  python bench/damage.py --case "{case.line}"')
    return len(faulty)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--folder", type=Path, help="where the files are built, and found again by the next call")
    parser.add_argument("--case", help="READER|FILE|KIND|SEED of one case")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        material = (wanted.folder or Path(scratch)).absolute() / "material"
        prepare(material)
        if wanted.case:
            reader, file, kind, seed = wanted.case.split("|")
            cases = [Case(reader, file, kind, int(seed))]
        else:
            readers = wanted.readers.split(",")
            cases = [
                case for case in draw_cases(material / "base", wanted.cases, wanted.seed) if case.reader in readers
            ]
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=material.parent) as places:
            found = try_all(cases, material, Path(places), min(wanted.jobs, len(cases)))
        if wanted.case:
            print(found[0][1])
        faults = show(found, time.perf_counter() - begun)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
