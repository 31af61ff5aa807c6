"""Is anything lost or changed when a command is killed at any moment and resumed?

    python -m bench kills [--kills 300] [--seed 0] [--lanes 2] [--tasks ridge,tune] [--keep DIR]

Each trial starts one task (`TASKS`) in a folder with other runs, another cache store and a user's own files, kills it
one to three times (SIGKILL, sometimes SIGINT or SIGTERM; at a moment drawn from the undisturbed run's time, or right
after a certain file appears), checks that no process is left after 5 s and that the cache is whole, runs it to its end
and compares every result with the undisturbed run's. Prints a table by task and each fault; exits 1 when there is one.

About 1 hour on 2 cores.
"""

import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.common.options import start
from bench.common.tables import Table
from frostline import __main__ as program
from tests.commands import PROCESSES, run_forked, run_in_fork

MARK = "FROSTLINE_KILL_TRIAL"
GONE_AFTER = 5.0  # seconds that a killed command's other processes may stay
LIMIT = 300.0  # seconds that a task may take by the clock of a busy machine
SIGNALS = (signal.SIGKILL,) * 6 + (signal.SIGINT, signal.SIGINT, signal.SIGTERM)
VOLATILE = {"seconds", "total_seconds", "peak_memory_bytes", "frozen_pass", "images_per_second", "when"}
ALEXNET = ("--model", "alexnet")
AUTO = ("--image-size", "64", "--prior", "none", "--no-report")
QUICK = (*ALEXNET, "--image-size", "64", "--prior", "none", "--no-report")
MLP = (*ALEXNET, "--head", "mlp", "--hidden-width", "16", "--batch-size", "8", "--lr", "0.003", "--image-size", "64",
       "--no-report")  # fmt: skip
THAWED = (*MLP, "--head-epochs", "2", "--epochs", "2")
Results = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """A command, what is added when it is run again, where it writes, and which files are waited for before a kill."""

    words: tuple[str, ...]
    again: tuple[str, ...] = ("--resume",)
    output: str = "runs/k"
    appear: tuple[str, ...] = ()
    data: str = "few"


RUN_FILES = (
    "runs/k/config.toml", "runs/k/model/model.safetensors", "runs/k/model/model.json", "runs/k/evidence.safetensors",
    "runs/k/metrics.json", "cache/activations/*/shard-*", "runs/k/lock", "cache/scans/*.json",
)  # fmt: skip
STEPS = (*RUN_FILES, "runs/k/checkpoint.safetensors", "runs/k/checkpoint*.part")
TASKS = {
    "auto": Task(("train", "DATA", "--name", "k", *AUTO), appear=RUN_FILES),
    "ridge": Task(("train", "DATA", "--name", "k", *QUICK), appear=RUN_FILES),
    "report": Task(("train", "DATA", "--name", "k", *QUICK[:-1]), appear=(*RUN_FILES, "runs/k/report.html")),
    "stepwise": Task(("train", "DATA", "--name", "k", *MLP, "--epochs", "6"), appear=STEPS),
    "head-first": Task(("train", "DATA", "--name", "k", *THAWED, "--freeze", "conv4"), appear=STEPS),
    "gradual": Task(
        ("train", "DATA", "--name", "k", *THAWED, "--freeze", "conv3", "--schedule", "gradual"), appear=STEPS
    ),
    "views": Task(("train", "DATA", "--name", "k", *QUICK, "--views", "3", "--augment", "default"), appear=RUN_FILES),
    "workers": Task(("train", "DATA", "--name", "k", *QUICK), appear=RUN_FILES, data="many"),
    "curve": Task(
        ("curve", "DATA", "--labels", "1,2", "--ways", "pixels,frozen", "--repeats", "2", "--image-size", "64",
         "--output-dir", "curves/k", *ALEXNET),
        (), "curves/k", ("curves/k/settings.json", "curves/k/points.jsonl", "curves/k/curve.csv"),
    ),
    "tune": Task(
        ("tune", "DATA", "--name", "k", "--trials", "3", "--search", "lr,weight_decay", "--head", "linear", "--epochs",
         "2", "--image-size", "64", "--prior", "none", *ALEXNET),
        ("--resume",), "tunes/k", ("tunes/k/settings.json", "tunes/k/study.db", "tunes/k/config.toml", "tunes/k/lock"),
    ),
    "audit": Task(
        ("audit", "DATA", "--name", "k", "--image-size", "64", *ALEXNET), ("--overwrite",), "audits/k",
        ("audits/k/audit.csv", "audits/k/audit.json", "audits/k/audit.html"),
    ),
    "data check": Task(("data", "check", "DATA"), (), "", ("cache/scans/*.json",), "many"),
    "predict": Task(("predict", "kept", "DATA", "--format", "json"), (), "", (), "many"),
}  # fmt: skip


def draw_data(folder: Path, per_class: int, side: int) -> None:
    """Write two classes that are not quite easy to tell apart."""
    rng = np.random.default_rng(per_class)
    for name, channel in (("red", 0), ("blue", 2)):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = rng.integers(60, 190, (side, side, 3), dtype=np.uint8)
            pixels[side // 4 : side // 2, side // 4 : side // 2, channel] = rng.integers(120, 230)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.bmp")


def environment(place: Path) -> dict[str, str]:
    own = {"FROSTLINE_CACHE_DIR": str(place / "cache"), "FROSTLINE_OFFLINE": "1", MARK: place.name}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


def finish(words: tuple[str, ...], place: Path) -> subprocess.CompletedProcess[str]:
    return run_forked(words, place, environment(place), LIMIT)


class Started:
    """A command in a session of its own: forked, or the installed script."""

    def __init__(self, words: tuple[str, ...], place: Path, *, installed: bool) -> None:
        self._log = place.with_name(f"{place.name}.log")
        self._log.unlink(missing_ok=True)  # of the kill before: it shows when this command has begun
        self.mark = place.name
        if installed:
            script = Path(sys.executable).with_name("frostline")
            with self._log.open("wb") as log:
                process = subprocess.Popen(
                    [script, *words],
                    cwd=place,
                    env=environment(place),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self.pid, self._wait = process.pid, lambda: process.wait(LIMIT)
            self._ended = lambda: process.poll() is not None
        else:
            forked = PROCESSES.Process(target=_begin, args=(words, place, environment(place), self._log))
            forked.start()
            self.pid = forked.pid or 0
            self._ended = lambda: not forked.is_alive()

            def wait() -> int:
                forked.join(LIMIT)
                return -999 if forked.exitcode is None else forked.exitcode

            self._wait = wait

    @property
    def ended(self) -> bool:
        return self._ended()

    def kill(self, number: signal.Signals) -> int:
        """Send a signal; return the exit code. Before a forked process has come to the command, only SIGKILL."""
        while number is not signal.SIGKILL and not (self._log.exists() or self.ended):
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return self._wait()

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def left(self) -> list[int]:
        """Return the processes of its session, or marked as its own, that still run after a while."""
        until = time.monotonic() + GONE_AFTER
        while (
            found := [pid for pid in _processes() if _belongs(pid, self.pid, self.mark)]
        ) and time.monotonic() < until:
            time.sleep(0.1)
        return found


def _begin(words: tuple[str, ...], place: Path, env: dict[str, str], log: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # as in `frostline.__main__`, until the command runs
    os.setsid()
    log.touch()
    run_in_fork(partial(_main, words), place, env, [log, log], contextlib.nullcontext)


def _main(words: tuple[str, ...]) -> int:
    sys.argv[1:] = words
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        program.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _belongs(pid: int, session: int, mark: str) -> bool:
    try:
        state, _, _, sid, *_ = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        if state == "Z":
            return False
        return int(sid) == session or f"{MARK}={mark}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:  # it ended, or is another user's
        return False


def steady(value: Any) -> Any:
    """Return JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in VOLATILE}
    return [steady(item) for item in value] if isinstance(value, list) else value


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(folder: Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): digest(path) for path in files}


def results(task: Task, place: Path, output: str) -> Results:
    """Return everything that must be the same, by name."""
    if not task.output:
        return {"output": output[output.find("[\n") :] if task.words[0] == "predict" else output.replace("\r", "")}
    folder = place / task.output
    found: Results = {"files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "manifest.json":  # its digests are those of files that hold times
            about = json.loads(path.read_text())
            found[name] = [about["complete"], sorted(about["files"])]
        elif path.suffix == ".json":
            found[name] = steady(json.loads(path.read_text()))
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                found[name] = [{k: v for k, v in row.items() if k not in VOLATILE} for row in csv.DictReader(file)]
        elif path.suffix in (".safetensors", ".toml"):
            found[name] = digest(path)
    return found


def differences(found: Results, expected: Results) -> list[str]:
    changed = [name for name in sorted(found.keys() | expected.keys()) if found.get(name) != expected.get(name)]
    return [f"{name}: {_shown(found.get(name), expected.get(name))}" for name in changed]


def _shown(one: Any, other: Any) -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [key for key in sorted(one.keys() | other.keys()) if one.get(key) != other.get(key)]
        return "; ".join(f"{key} {_shown(one.get(key), other.get(key))}" for key in keys)[:300]
    if isinstance(one, list) and isinstance(other, list):
        return f"{[x for x in one if x not in other][:3]} for {[x for x in other if x not in one][:3]}"[:300]
    return f"{one!r:.150} for {other!r:.150}"


class Campaign:
    """The folders and the undisturbed results."""

    def __init__(self, root: Path) -> None:
        self._root = root
        draw_data(root / "few", 12, 64)
        draw_data(root / "many", 280, 16)  # more than are decoded without worker processes
        self._data = tree(root / "few") | tree(root / "many")
        self._base = root / "base"
        self._base.mkdir()
        done = finish(("train", str(root / "few"), "--name", "kept", *QUICK, "--image-size", "80"), self._base)
        assert done.returncode == 0, done.stderr
        thesis = self._base / "runs" / "mine" / "thesis.txt"
        thesis.parent.mkdir()
        thesis.write_text("thesis")
        (self._base / "notes.txt").write_text("notes")
        self._kept = tree(self._base)
        self._expected: dict[str, tuple[float, Results]] = {}

    def words(self, task: Task) -> tuple[str, ...]:
        return tuple(str(self._root / task.data) if word == "DATA" else word for word in task.words)

    def place(self, name: str) -> Path:
        place = self._root / name
        shutil.copytree(self._base, place)
        return place

    def prepare(self, name: str) -> None:
        """Run a task undisturbed."""
        task, place = TASKS[name], self.place(f"whole {name}")
        begun = time.monotonic()
        done = finish(self.words(task), place)
        assert done.returncode == 0, (name, done.stdout, done.stderr)
        self._expected[name] = time.monotonic() - begun, results(task, place, done.stdout)

    def trial(self, name: str, number: int, seed: int) -> tuple[list[str], list[str]]:
        """Kill a task one to three times, let it finish, and return the kills and the faults."""
        task, place = TASKS[name], self.place(f"{name} {number}")
        rng = random.Random(f"{seed} {number}")  # noqa: S311  (draws moments)
        words, (seconds, expected) = self.words(task), self._expected[name]
        kills: list[str] = []
        faults: list[str] = []
        for turn in range(rng.choice((1, 1, 2, 3))):
            command = words + (task.again if turn else ())
            kills.append(self._kill(command, task, place, seconds, rng, faults))
        command = words + task.again
        done = finish(command, place)
        if done.returncode != 0:
            faults.append(f"run again: exit code {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
        else:
            faults += differences(results(task, place, done.stdout), expected)
        faults += self._lost(place)
        parts = list(place.rglob("*.part"))
        faults += [f"left {path.relative_to(place)}" for path in parts[:2]]
        if not faults:
            shutil.rmtree(place)
        return kills, faults

    def _kill(
        self, words: tuple[str, ...], task: Task, place: Path, seconds: float, rng: random.Random, faults: list[str]
    ) -> str:
        installed = rng.random() < 0.1
        number = rng.choice(SIGNALS)
        pattern = rng.choice(task.appear) if task.appear and rng.random() < 0.5 else ""
        before = set(place.glob(pattern)) if pattern else set()
        process = Started(words, place, installed=installed)
        until = time.monotonic() + (rng.uniform(0, seconds + 3 * installed) if not pattern else 4 * seconds + 5)
        while time.monotonic() < until and not process.ended and not (pattern and set(place.glob(pattern)) - before):
            time.sleep(0.002)
        if pattern:
            time.sleep(rng.choice((0.0, rng.uniform(0, 0.1))))
        code = process.kill(number)
        left = process.left()
        how = (
            f"{number.name}{' of the script' if installed else ''} {f'after {pattern}' if pattern else 'at some time'}"
        )
        if left:
            faults.append(f"{how}: {len(left)} processes left after {GONE_AFTER:g} s")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if "Traceback (most recent call last)" in process.output:
            faults.append(f"{how}: traceback: {' '.join(process.output.split())[-200:]}")
        elif number is not signal.SIGKILL and code not in (0, 2, 130, -number, 128 + number):
            faults.append(f"{how}: exit code {code}: {' '.join(process.output.split())[-200:]}")
        faults += self._lost(place)
        checked = finish(("cache", "verify"), place)
        if checked.returncode != 0:
            faults.append(f"{how}: cache verify: {' '.join((checked.stdout + checked.stderr).split())[-200:]}")
        return f"{number.name}{' (ended before)' if code == 0 else ''}"

    def _lost(self, place: Path) -> list[str]:
        now = tree(place)
        kept = {name: value for name, value in self._kept.items() if not name.endswith(("log.txt", "lock"))}
        changed = [name for name, value in kept.items() if now.get(name) != value]
        if tree(self._root / "few") | tree(self._root / "many") != self._data:
            changed.append("the images")
        return [f"lost or changed: {', '.join(changed[:3])}"] if changed else []


@dataclass
class Tally:
    """What came of a task's trials."""

    kills: Counter[str] = field(default_factory=Counter)
    trials: int = 0
    faulty: int = 0


def run_campaign(
    campaign: Campaign, names: list[str], kills: int, seed: int, lanes: int
) -> tuple[dict[str, Tally], list[str]]:
    """Try the tasks in turn until there were so many kills."""
    tallies = {name: Tally() for name in names}
    shown: list[str] = []
    lock, numbers = threading.Lock(), iter(range(10 * kills))

    def lane() -> None:
        while True:
            with lock:
                if sum(tally.kills.total() for tally in tallies.values()) >= kills:
                    return
                number = next(numbers)
            name = names[number % len(names)]
            done, faults = campaign.trial(name, number, seed)
            with lock:
                tally = tallies[name]
                tally.kills.update(done)
                tally.trials += 1
                tally.faulty += bool(faults)
                shown.extend(f"{name}, trial {number} ({', '.join(done)}): {fault}" for fault in dict.fromkeys(faults))
                print(f"{name} {number}: {', '.join(done)}  {len(faults)} faults", file=sys.stderr, flush=True)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tallies, shown


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        kills=300,
        seed=0,
        lanes=2,
        tasks=",".join(TASKS),
        keep={"type": Path, "help": "a new folder for everything; those of faulty trials stay there"},
    )
    names = options.tasks.split(",")
    os.environ["OMP_NUM_THREADS"] = "1"  # for the process that commands are forked from, as for the installed script
    with tempfile.TemporaryDirectory() as scratch:
        root = (options.keep or Path(scratch) / "kills").absolute()
        root.mkdir(parents=True)
        begun = time.perf_counter()
        campaign = Campaign(root)
        for name in names:
            campaign.prepare(name)
        tallies, faults = run_campaign(campaign, names, options.kills, options.seed, options.lanes)
    table = Table("task:14", "trials:>6", "kills:>6", "ended before:>12", "faulty:>6")
    for name, tally in tallies.items():
        early = sum(count for kind, count in tally.kills.items() if "ended" in kind)
        table.row(name, tally.trials, tally.kills.total(), early, tally.faulty)
    total = sum(tally.kills.total() for tally in tallies.values())
    print(f"{total} kills in {time.perf_counter() - begun:.0f} s: {len(faults)} faults")
    for fault in faults:
        print(f"  {fault}")
    sys.exit(1 if faults else 0)
