"""Run cases one by one in a monitored process: hanging or using too much memory ends it, and counts as a fault."""

import contextlib
import math
import os
import random
import resource
import shutil
import signal
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.commands import PROCESSES
from tests.robustness.damages import KINDS, OTHERS, PLACES, damage
from tests.robustness.material import build_material
from tests.robustness.readers import READERS, LoggedAnswer, Reader, Refused

BUSY, WALL = 10.0, 60.0  # limits of processor time and wall-clock time per case, in seconds
MEMORY = 4 << 30  # bytes of address space per case, in addition to the idle process
LINES = 6
SMALL = 1 << 16  # bytes; larger files are linked, not copied
RIGHT, REFUSED = "right", "refused"


@dataclass(frozen=True)
class Case:
    """A reader, its file that is damaged, the kind of damage, and its seed."""

    reader: str
    file: str
    kind: str
    seed: int

    @property
    def line(self) -> str:
        """The argument of ``python -m bench damage --case`` that repeats it."""
        return f"{self.reader}|{self.file}|{self.kind}|{self.seed}"


@dataclass(frozen=True)
class Verdict:
    """``right``, ``refused`` or a kind of fault, and its evidence."""

    what: str
    shown: str = ""

    @property
    def fault(self) -> bool:
        return self.what not in (RIGHT, REFUSED)


def damaged_files(reader: Reader, base: Path) -> list[str]:
    """Return the files of a reader that can be damaged, relative to the base folder."""
    found = [
        path for glob in reader.files for path in sorted(base.glob(glob)) if path.is_file() and path.name != "lock"
    ]
    return [str(path.relative_to(base)) for path in found]


def draw_cases(base: Path, count: int, seed: int) -> list[Case]:
    """Draw about ``count`` cases: each reader has its share, and its files and the kinds of damage alternate."""
    rng = random.Random(seed)
    cases = []
    for name, reader in READERS.items():
        files, first = damaged_files(reader, base), rng.randrange(len(KINDS))
        for number in range(quota(reader, count) if files else 0):
            turn, which = divmod(number, len(files))
            kind = possible(name, files[which], KINDS[(first + turn) % len(KINDS)])
            cases.append(Case(name, files[which], kind, rng.randrange(1 << 32)))
    return cases


def possible(reader: str, file: str, kind: str) -> str:
    """Return the kind of damage, or another in place of one that cannot be detected: valid files of another run."""
    if kind in OTHERS and reader in ("npz", "pth"):
        return "bits flipped"
    noticed = file.startswith(("cache/", "runs/first/model/")) and reader not in ("bundle", "verify", "list")
    return OTHERS[0] if kind == OTHERS[1] and not noticed else kind


def quota(reader: Reader, count: int) -> int:
    """Return a reader's share of ``count`` cases."""
    return round(count * reader.share / sum(one.share for one in READERS.values()))


class Watched:
    """A process that runs cases on copies of the material, and is restarted when one ends it."""

    def __init__(self, material: Path, place: Path) -> None:
        self._material, self._place = material, place
        self._start()

    def _start(self) -> None:
        self._here, there = PROCESSES.Pipe()
        self._process = PROCESSES.Process(target=_serve, args=(self._material, self._place, there))
        self._process.start()
        there.close()
        assert self._here.recv() == "ready"

    def close(self) -> None:
        self._here.close()
        for pid in self._session():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.join()

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def try_case(self, case: Case) -> Verdict:
        """Damage the file, run the reader, and classify the outcome."""
        self._here.send(case)
        begun, busy = time.monotonic(), self._seconds()
        still = begun  # start of the current period of sleep without processor time
        last = busy
        while not self._here.poll(0.5):
            if not self._process.is_alive():
                return self._again(Verdict("died", f"exit code {self._process.exitcode}"))
            now, used = time.monotonic(), self._seconds()
            if used > last or not self._asleep():
                still, last = now, used
            if used - busy > BUSY or now - begun > WALL or now - still > BUSY:
                return self._again(
                    Verdict("hang", f"{used - busy:.0f} s of processor time, {now - begun:.0f} s in all")
                )
        try:
            verdict: Verdict = self._here.recv()
        except EOFError:
            self._process.join()
            return self._again(Verdict("died", f"exit code {self._process.exitcode}"))
        return verdict

    def _again(self, verdict: Verdict) -> Verdict:
        self.close()
        self._start()
        return verdict

    def _session(self) -> dict[int, list[str]]:
        """Return the state and times of the process and of those it started, such as the decoding processes."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                fields = path.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self._process.pid:
                    found[int(path.parent.name)] = fields
        return found

    def _seconds(self) -> float:
        ticks = sum(int(fields[11]) + int(fields[12]) for fields in self._session().values())
        return ticks / os.sysconf("SC_CLK_TCK")

    def _asleep(self) -> bool:
        return all(fields[0] in "SZ" for fields in self._session().values())


def prepare(material: Path) -> None:
    """Build the material in a separate process, unless it exists."""
    process = PROCESSES.Process(target=_build, args=(material,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _build(material: Path) -> None:
    _calm()
    build_material(material)


def _calm() -> None:
    import coverage
    import torch

    measuring = coverage.Coverage.current()
    if measuring is not None:  # it would double the time
        measuring.stop()
    torch.set_num_threads(1)
    os.environ["FROSTLINE_OFFLINE"] = "1"
    os.environ.pop("FROSTLINE_CACHE_DIR", None)


def _serve(material: Path, place: Path, cases: Connection) -> None:
    """Run the cases from a connection until it is closed."""
    os.setsid()
    _calm()
    warnings.simplefilter("ignore")  # of other libraries: the length of our output is checked
    output = os.open(place.with_suffix(".output"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY, in_use + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    expected: dict[str, Any] = {}
    cases.send("ready")
    with contextlib.suppress(EOFError):
        while True:
            case = cases.recv()
            reader = READERS[case.reader]
            if case.reader not in expected:
                try:
                    with _place(place, material, reader):
                        expected[case.reader] = reader.read(material)
                except Exception as error:
                    cases.send(Verdict("fails on undamaged files", f"{type(error).__name__}: {error}"[:300]))
                    continue
            cases.send(_try(case, reader, expected[case.reader], material, place))


@contextlib.contextmanager
def _place(place: Path, material: Path, reader: Reader) -> Iterator[None]:
    """Enter a folder with the files that a reader needs; large files are links."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    base = material / "base"
    for need in reader.needs:
        for source in base.glob(need):
            target = place / source.relative_to(base)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, copy_function=_link)
            else:
                _link(source, target)
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(place.parent)


def _link(source: Path | str, target: Path | str) -> None:
    if Path(source).stat().st_size > SMALL:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _try(case: Case, reader: Reader, expected: Any, material: Path, place: Path) -> Verdict:
    from frostline.errors import FrostlineError

    with _place(place, material, reader):
        other = material / "other" / case.file
        damage(place / case.file, case.kind, case.seed, other if other.is_file() else None)
        before = {path for path in _tree(place) if not path.name.endswith((".part", "-journal"))}
        try:
            found = reader.read(material)
        except (Refused, FrostlineError) as error:
            verdict = _check_refusal(str(error), getattr(error, "listed", ""), case)
        except AssertionError as error:
            verdict = Verdict("wrong", str(error)[:300])
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            ours = [frame for frame in traceback.extract_tb(error.__traceback__) if "/frostline/" in frame.filename]
            at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else f"{where.filename}:{where.lineno}"
            verdict = Verdict("traceback", f"{type(error).__name__} at {at}: {str(error)[:120]!r}")
        else:
            verdict = _check_answer(found, expected, case, reader)
        lost = [path for path in before - _tree(place) if not path.is_relative_to(place / "cache")]
        if lost and not verdict.fault and case.reader != "resume":
            return Verdict("lost", f"removed {lost[0].relative_to(place)}")
        return verdict


def _tree(place: Path) -> set[Path]:
    return {Path(folder, name) for folder, _, names in os.walk(place) for name in names}


def _names(case: Case) -> set[str]:
    """Return the names of which a message must contain one: the file, or the folder where it is missing."""
    path = Path(case.file)
    names = {path.name.removesuffix(".gz")}
    if case.kind in ("missing", "broken link") or path.name == "manifest.json":  # which of two files is wrong?
        names.add(path.parent.name)
    if case.kind == "all of another run":
        names |= {path.parent.name, "model.json", "model.safetensors", "manifest.json"}
    return names


def _check_refusal(text: str, listed: str, case: Case) -> Verdict:
    lines = text.strip().splitlines()
    if not any(name in text + listed for name in _names(case)):
        return Verdict("unnamed", text.strip()[:300])
    if len(lines) > LINES:
        return Verdict("long", f"{len(lines)} lines: {text[:200]}")
    if any(ord(letter) < 32 and letter != "\n" for letter in text):
        return Verdict("control characters", repr(text[:300]))
    return Verdict(REFUSED, text.strip()[:300])


def _check_answer(found: Any, expected: Any, case: Case, reader: Reader) -> Verdict:
    logged = isinstance(found, LoggedAnswer)
    value, right = (found.answer, expected.answer) if logged else (found, expected)
    if equal(value, right):
        return Verdict(RIGHT)
    if not reader.checked and case.kind not in PLACES:
        return Verdict(RIGHT, "another content, another answer")
    if reader.partial and logged and any(found.text.count(name) > expected.text.count(name) for name in _words(case)):
        return Verdict(REFUSED, "in part")
    return Verdict("silently wrong", f"{_difference(value, right)}"[:300])


def _words(case: Case) -> set[str]:
    listed = {"damaged", "unfinished", "?"} if case.reader in ("runs", "list") else set()  # a row says so
    return _names(case) | listed


def equal(a: Any, b: Any) -> bool:
    """Whether two answers are equal, numbers to 1e-6."""
    if isinstance(a, float) or isinstance(b, float):
        try:
            return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))
        except TypeError:
            return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def _difference(a: Any, b: Any) -> str:
    if isinstance(a, str) and isinstance(b, str):
        at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        return f"…{a[max(at - 40, 0) : at + 60]!r} for …{b[max(at - 40, 0) : at + 60]!r}"
    return f"{a} for {b}"
