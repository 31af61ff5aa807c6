"""How much sooner does a first run over a phone's photographs end than in another checkout?

    python -m bench photographs --before CHECKOUT [--images 500] [--repeats 3] [--options "--model alexnet ..."]

Draws JPEG files of 12 megapixels, as many in each of five classes, and trains on them from an empty cache and again
with another seed of the head, in both checkouts in turns of a few seconds. Prints the times and peak memory, and the
median ratios, this checkout's times to the other's.

About 15 minutes on 2 cores.
"""

import json
import shlex
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from bench.common.checkouts import repeats, run_in_turns
from bench.common.machine import GIB
from bench.common.options import start

CLASSES, WIDTH, HEIGHT, QUALITY = 5, 4000, 3000, 88


def photograph(task: tuple[Path, int]) -> None:
    """Write an image whose colors belong to its class, with the noise of a sensor: 2 to 4 MB, as phones write them."""
    path, number = task
    generator = np.random.default_rng(number)
    colors = generator.integers(0, 256, (36, 48, 3))
    colors[..., number % 3] = (colors[..., number % 3] + 60 * (number % CLASSES)) % 256
    small = Image.fromarray(colors.astype(np.uint8))
    smooth = np.asarray(small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = generator.normal(0, 6, (HEIGHT, WIDTH, 1)).astype(np.int16)
    Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8)).save(path, quality=QUALITY)


def draw(folder: Path, images: int) -> int:
    """Write the class folders; return the number of bytes."""
    tasks = [(folder / f"class {n % CLASSES}" / f"{n:05d}.jpg", n) for n in range(images)]
    for number in range(CLASSES):
        (folder / f"class {number}").mkdir(parents=True)
    with ProcessPoolExecutor() as pool:
        list(pool.map(photograph, tasks, chunksize=8))
    return sum(path.stat().st_size for path, _ in tasks)


def compare(checkouts: Mapping[str, Path], folder: Path, kind: str, words: Sequence[str], slices: float) -> float:
    """Train in both checkouts in turn, print times and memory, and return how many times as fast this one is."""
    seconds = run_in_turns(checkouts, folder, kind, words, slices)
    memory = {
        label: json.loads((folder / label / "runs" / kind / "metrics.json").read_text())["peak_memory_bytes"] / GIB
        for label in checkouts
    }
    ratio = seconds["before"] / seconds["now"]
    shown = "  ".join(f"{label} {seconds[label]:6.1f} s, {memory[label]:.2f} GiB" for label in ("before", "now"))
    print(f"{kind:<7} {shown}  {ratio:.2f} times as fast", flush=True)
    return ratio


def main(arguments: Sequence[str]) -> None:
    options = start(
        __doc__,
        arguments,
        before={"type": Path, "required": True, "metavar": "CHECKOUT"},
        images=500,
        repeats=3,
        options="--model alexnet --weights bundled --prior none --no-report",
        slice_seconds=3.0,
    )
    ratios: dict[str, list[float]] = {"first": [], "second": []}
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        size = draw(photos, options.images)
        print(f"{options.images:,} files of {WIDTH} x {HEIGHT} pixels, {size / options.images / 1e6:.1f} MB each")
        for checkouts, folder in repeats(options.before, options.repeats):
            for kind, seed in (("first", "0"), ("second", "1")):
                words = (str(photos), *shlex.split(options.options), "--seed", seed)
                ratios[kind].append(compare(checkouts, folder, kind, words, options.slice_seconds))
    for kind, values in ratios.items():
        spread = f"{min(values):.2f} to {max(values):.2f}, n = {len(values)}"
        print(f"{kind} run: {statistics.median(values):.2f} times as fast ({spread})")
