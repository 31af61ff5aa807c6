"""Runs killed with SIGKILL at random moments of every phase always resume to the same metrics."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from frostline.runs.folder import Run
from tests.commands import started
from tests.conftest import COMMAND
from tests.small_run import OPTIONS

EPOCHS = 8
PHASES = ("loading", "frozen pass", "training", "evaluation")
RUNS = 5  # each is killed once in every phase


def command(data: Path, name: str, cache: Path) -> list[object]:
    """Begin or resume a run; each has its own cache."""
    options = ["--data-dir", data, "--limit", 300, *OPTIONS, "--head", "mlp", "--epochs", EPOCHS, "--patience", EPOCHS]
    return ["train", "fashion-mnist", "--verbose", "--name", name, "--cache-dir", cache, *options, "--resume"]


def phase_of(lines: list[str]) -> str:
    """The phase that a process was in, from its output."""
    text = "".join(lines)
    if "\ntest accuracy" in text:
        return "done"
    if "evaluating on the test split" in text:
        return "evaluation"
    if " images/s\n" in text or "features found in the cache" in text:
        return "training"
    return "frozen pass" if "images to compute through" in text else "loading"


def moment(phase: str, rng: random.Random) -> tuple[tuple[str, ...], float]:
    """Draw when to kill: a delay in seconds after a line with one of these prefixes, or after the start for none."""
    match phase:
        case "loading":
            return rng.choice([((), rng.uniform(0, 0.2)), (("data: ",), rng.uniform(0, 0.03)), (("run ",), 0.0)])
        case "frozen pass":
            return ("frozen pass: 300 of 300", "frozen pass: all"), rng.uniform(0, 0.12)
        case "training":
            epoch = rng.randrange(1, EPOCHS - 1)
            return (f"epoch {epoch}/", f"continuing after epoch {epoch}"), rng.uniform(0, 0.03)
    return ("evaluating",), rng.uniform(0, 0.2)


def kill_at(place: Path, data: Path, name: str, phase: str, rng: random.Random) -> tuple[str, int]:
    """Start or resume a run, kill it in a phase, and return the phase it died in and its return code."""
    openings, delay = moment(phase, rng)
    lines: list[str] = []
    with started(command(data, name, place / f"{name} cache"), place, dict(os.environ)) as (process, said):
        for line in said if openings else ():
            lines.append(line)
            if line.startswith(openings):
                break
        time.sleep(delay)
        process.kill()
        lines += said
    return phase_of(lines), process.exitcode


def abuse(place: Path, data: Path, name: str, seed: int) -> list[tuple[str, int]]:
    """Kill one run in every phase, then let it finish; return how it died each time."""
    rng = random.Random(seed)
    order = list(PHASES[1:])
    order.insert(rng.randrange(len(PHASES)), "loading")  # the loaded run may be nearly finished
    deaths = [kill_at(place, data, name, phase, rng) for phase in order]
    finish(place, data, name)
    return deaths


def finish(place: Path, data: Path, name: str) -> None:
    with started(command(data, name, place / f"{name} cache"), place, dict(os.environ)) as (process, said):
        output = said.read()
    assert process.exitcode == 0, output


def finish_installed(place: Path, data: Path, name: str) -> None:
    """Run the installed script from its start to its end."""
    words = [COMMAND, *map(str, command(data, name, place / f"{name} cache"))]
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kills")


def test_a_run_killed_anywhere_resumes_to_the_same_metrics(place, small_fashion):
    names = [f"killed {number}" for number in range(RUNS)]
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(finish_installed, place, small_fashion, "whole")
        abused = [pool.submit(abuse, place, small_fashion, name, seed) for seed, name in enumerate(names)]
        whole.result()
        deaths = [death for future in abused for death in future.result()]

    phases = Counter(phase for phase, _ in deaths)
    assert len(deaths) == 20
    assert {code for _, code in deaths} == {-signal.SIGKILL}, deaths
    assert all(phases[phase] >= 2 for phase in PHASES), phases

    expected = Run.load("whole", place / "runs")
    for name in names:
        run = Run.load(name, place / "runs")
        assert run.metrics["test"] == expected.metrics["test"]
        assert run.metrics["val"] == expected.metrics["val"]
        for key in ("epochs", "best_epoch"):
            assert run.metrics["training"][key] == expected.metrics["training"][key]
        for mine, theirs in zip(run.history, expected.history, strict=True):
            assert (mine.train_loss, mine.val_loss, mine.lr) == (theirs.train_loss, theirs.val_loss, theirs.lr)
        left = {path.name for path in (place / "runs" / name).rglob("*")}
        assert left == {path.name for path in expected.folder.rglob("*")}
        assert not list((place / f"{name} cache").rglob("*.part"))
