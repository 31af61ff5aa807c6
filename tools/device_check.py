"""Check on an accelerator what is otherwise run on a CPU only: tests, the frozen pass and fine-tuning.

    python tools/device_check.py [--device cuda] [--quick]

Takes at most eight minutes and needs no network. Each part runs in a process of its own with a time limit, so one that
fails or hangs does not cost the others: the table at the end shows the reason. `--device cpu --quick` runs everything
in small on the CPU. Exit codes: 0 when every part was done, 1 when one was not, 2 when the device is missing.

- The tests with the fixture ``device`` run on the device (``FROSTLINE_TEST_DEVICE``).
- The frozen stages of AlexNet at 224 px: images/s in float32, as Frostline runs them, and in bfloat16, channels last,
  also compiled. Each with its share of the rate that a bfloat16 matrix product reaches on the device, and with its
  largest difference from float32.
- AlexNet fine-tuned on Fashion-MNIST with the longer recipe of docs/recipes.md, from pixels to its test accuracy.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

TESTS = (  # those with tests on the device
    "tests/_utils/test_device.py",
    "tests/features/test_extract.py",
    "tests/inference/test_classifier.py",
    "tests/parity/test_fast_forward.py",
    "tests/training/test_thawed.py",
)
QUICK_TESTS = "tests/_utils/test_device.py"
IMAGE_SIZE = 224
TARGET = 0.94  # test accuracy
RECIPE = {
    "data": "fashion-mnist", "model": "alexnet", "weights": "bundled", "freeze": "none", "batch_norm": True,
    "image_size": 112, "head_epochs": 8, "epochs": 26, "batch_size": 128, "lr": 5e-4, "ema": 0.999, "amp": True,
    "augment": {"erase": 0.4}, "val_fraction": 0.05, "patience": 26,
}  # fmt: skip
QUICK_SECONDS = 600  # of each part on a CPU, however busy; about 20 on two free cores
QUICK_RECIPE = {"limit": 60, "val_fraction": 0.2, "image_size": 64, "head_epochs": 1, "epochs": 1}

Row = tuple[str, str]  # what was done, and its result


def tests(device: str, quick: bool) -> Iterator[Row]:
    """Run the tests that use the fixture ``device``."""
    files = [QUICK_TESTS] if quick else TESTS
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "device", *files],
        cwd=ROOT,
        env={**os.environ, "FROSTLINE_TEST_DEVICE": device},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["pytest printed nothing"]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    yield f"tests on {device}", lines[-1].strip("= ")
    yield from (("", line) for line in failed[:20])
    if done.returncode:
        raise RuntimeError(f"pytest ended with exit code {done.returncode}")


def frozen_pass(device_name: str, quick: bool) -> Iterator[Row]:
    """Time AlexNet's frozen convolutions in several ways against the device's matrix product in bfloat16."""
    import torch

    from bench.common.machine import convolution_macs
    from frostline.data.preprocess import Preprocess
    from frostline.features.forward import FastForward
    from frostline.models.boundary import Frozen, make_boundary
    from frostline.models.registry import load_backbone

    device, side = torch.device(device_name), 256 if quick else 8192
    rate = partial(_rate, device, 0.0 if quick else 2.0)
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    roof = side**3 * rate(lambda: a @ b)
    yield f"matrix product {side} x {side}, bfloat16", f"{roof / 1e9:,.1f} GMAC/s"
    backbone = load_backbone("alexnet", "random")
    forward = FastForward(Frozen(backbone, make_boundary(backbone, "conv5", ())), Preprocess(IMAGE_SIZE), device)
    pixels = torch.rand(2 if quick else 1024, 3, IMAGE_SIZE, IMAGE_SIZE, device=device) * 255
    expected = forward(pixels)
    macs = sum(convolution_macs(IMAGE_SIZE))

    @torch.inference_mode()
    def in_bfloat16(pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return forward.frozen(forward.preprocess.normalize(pixels).to(memory_format=torch.channels_last))

    ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "float32, as Frostline runs it": forward,
        "bfloat16, channels last": in_bfloat16,
    }
    if not quick:  # compiling takes longer than everything else
        ways["bfloat16, channels last, compiled"] = torch.compile(in_bfloat16)
    for name, way in ways.items():
        try:
            difference = float((way(pixels).float() - expected).abs().max() / expected.abs().max())
            images = len(pixels) * rate(partial(way, pixels))
            result = (
                f"{images:,.0f} images/s, {images * macs / roof:.2f} of the matrix product, off by {difference:.1e}"
            )
        except Exception as error:  # one way must not cost the others
            result = f"failed: {_first_line(error)}"
        yield f"frozen AlexNet, {IMAGE_SIZE} px, {name}", result


def _rate(device: Any, seconds: float, work: Callable[[], object]) -> float:
    """Return how often some work is done in a second, after two times that warm up."""
    import torch

    def finish() -> None:
        if device.type != "cpu":
            torch.accelerator.synchronize()

    work(), work()
    finish()
    begun, count = time.perf_counter(), 0
    while count < 3 or time.perf_counter() - begun < seconds:
        work()
        finish()
        count += 1
    return count / (time.perf_counter() - begun)


def fine_tuning(device: str, quick: bool) -> Iterator[Row]:
    """Fine-tune AlexNet on Fashion-MNIST, and tell how long it took to which test accuracy."""
    from frostline import TrainConfig, fit
    from frostline.data.fashion_mnist import load
    from frostline.errors import FrostlineError

    name = f"AlexNet fine-tuned to {TARGET} on Fashion-MNIST"
    try:
        load()
    except FrostlineError as error:
        yield name, f"left out, the data is not on this machine: {error}"
        return
    config = TrainConfig(**{**RECIPE, **(QUICK_RECIPE if quick else {}), "device": device})
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = fit(config, output_dir=Path(folder, "runs"), cache_dir=Path(folder, "cache"))
        seconds, accuracy = time.perf_counter() - begun, run.metrics["test"]["accuracy"]
    reached = "reached" if accuracy >= TARGET else "not reached"
    yield name, f"{reached}: test accuracy {accuracy:.4f} in {seconds:.0f} s, from pixels to the last test image"


Part = Callable[[str, bool], Iterator[Row]]
PARTS: dict[str, tuple[Part, int]] = {  # with the seconds that each may take
    "tests": (tests, 120),
    "frozen-pass": (frozen_pass, 80),
    "fine-tuning": (fine_tuning, 260),
}


def run_part(name: str, device: str, quick: bool) -> tuple[list[Row], bool]:
    """Run a part in a process of its own; return its rows, and whether it was done."""
    command = [sys.executable, __file__, "--part", name, "--device", device, *(["--quick"] if quick else [])]
    limit, environment = QUICK_SECONDS if quick else PARTS[name][1], {**os.environ, "FROSTLINE_OFFLINE": "1"}
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=output, stderr=log, env=environment, start_new_session=True)
        try:
            code = process.wait(limit)
            reason = f"failed: {_last_line(log)}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            reason = f"not done in {limit} s, its last line: {_last_line(log)}"
        output.seek(0)
        rows = [(what, result) for what, result in map(json.loads, output)]
    return (rows, True) if code == 0 else ([*rows, (name, reason)], False)


def _last_line(file: IO[str]) -> str:
    file.seek(0)
    return (file.read().strip().splitlines() or ["no output"])[-1]


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _missing(device: str) -> str | None:
    """Return why the device cannot be used, or ``None``."""
    try:
        from frostline._utils.device import pick_device

        pick_device(device)
    except Exception as error:  # torch itself may be missing
        return _first_line(error)
    return None


def _versions() -> str:
    found = []
    for name in ("torch", "frostline"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return ", ".join(found)


def main() -> int:
    """Run one part, or all of them and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, mps or cpu (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="everything in small")
    parser.add_argument("--part", choices=PARTS, help="one part alone, as JSON lines")
    options = parser.parse_args()
    missing = _missing(options.device)
    if missing:
        print(f"device_check: no device to check ({missing})", file=sys.stderr)
        return 2
    if options.part:
        for row in PARTS[options.part][0](options.device, options.quick):
            print(json.dumps(row), flush=True)
        return 0
    import torch

    from frostline._utils.device import describe_device

    rows, done = [("device", describe_device(torch.device(options.device))), ("versions", _versions())], True
    for name in PARTS:
        found, complete = run_part(name, options.device, options.quick)
        rows += found
        done = done and complete
    width = max(len(what) for what, _ in rows)
    for what, result in rows:
        print(f"{what:<{width}}  {result}")
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
