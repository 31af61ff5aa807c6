"""A folder of photographs: do decoding and the frozen pass keep the cores full together?

    python bench/own_pictures.py [--images 5000] [--jpeg-share 0.5] [--image-size 224] [--repeats 3]

Makes pictures of 640 x 480 pixels (smooth noise of many scales with a sensor's noise on top), JPEG at quality 90 and
PNG, mixed. Three things are timed, in turn, with all cores each:

    decode    worker processes read, decode, halve and crop every file, and hand the pixels over
    forward   the frozen pass over those pixels when they are in memory: resizing, network, shards written and synced
    both      the frozen pass over the files

When decoding takes d seconds a picture with all cores and forward f with all cores, both take d + f at best, for the
same cores do both: the rate is at most 1 / (d + f). That is 85 % of the slower of the two rates alone only where the
quicker takes at most 0.18 of the slower's time. On two cores of an AMD EPYC (Zen 4), with 1,500 pictures at 224 px, no
order of work gives more than 68 % with half of each kind, and 80 % with nine JPEG to one PNG: a PNG takes eleven times
as long to decode as a JPEG that is halved meanwhile. So two shares are given: of the slower rate alone, and of what is
possible, 1 / (d + f). Times are medians; the processor's time of all processes is given beside the clock's, for it
hardly depends on what else a machine does. Up to 512 pictures are decoded by threads, without other processes. The rows
of both ways must be the same, bit for bit.
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from common import CONVS, machine
from frostline.activations.fill import fill
from frostline.activations.forward import FastForward
from frostline.activations.spec import spec_of
from frostline.device import cores
from frostline.images.dataset import ImageDataset
from frostline.images.preprocess import Preprocess
from frostline.images.workers import Workers
from frostline.networks.boundary import Frozen, make_boundary
from frostline.networks.registry import load_backbone, outline


def photograph(rng: np.random.Generator) -> Image.Image:
    """Draw smooth noise of many scales, the coarse ones strongest, and a little noise of a sensor."""
    pixels = 128 + 2 * rng.normal(size=(480, 640, 3)).astype(np.float32)
    for side in (3, 6, 12, 30, 60, 120, 240):
        coarse = rng.normal(size=(3, side, side * 4 // 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(coarse[channel]).resize((640, 480), Image.Resampling.BICUBIC)
            pixels[..., channel] += 240 / side * np.asarray(plane)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_pictures(folder: Path, count: int, jpeg_share: float, drawn: int = 20) -> ImageDataset:
    """Write files with bytes of their own: some pictures are drawn, and a number after their end tells copies apart."""
    rng = np.random.default_rng(0)
    contents = []
    for number in range(drawn):
        jpeg = int((number + 1) * jpeg_share) > int(number * jpeg_share)
        buffer = io.BytesIO()
        photograph(rng).save(buffer, "JPEG" if jpeg else "PNG", quality=90)
        contents.append((".jpg" if jpeg else ".png", buffer.getvalue()))
    paths = []
    for number in range(count):
        ending, data = contents[number % drawn]
        paths.append(folder / f"{number:05d}{ending}")
        paths[-1].write_bytes(data + number.to_bytes(4, "little"))
    return ImageDataset(tuple(paths), np.arange(count) % 2, ("a", "b"))


class Timer:
    """Seconds of the clock and of the processor, workers included, of each kind of work."""

    def __init__(self) -> None:
        self.clock: dict[str, list[float]] = {}
        self.processor: dict[str, list[float]] = {}

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        begun, used = time.perf_counter(), _processor_seconds()
        result = work()
        self.clock.setdefault(name, []).append(time.perf_counter() - begun)
        self.processor.setdefault(name, []).append(_processor_seconds() - used)
        return result


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def decoded(images: ImageDataset, side: int) -> np.ndarray:
    """Decode all files in processes, as the frozen pass does."""
    with Workers(cores()) as workers:
        return np.stack(images.decoding(np.arange(len(images)), side, workers)())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--jpeg-share", type=float, default=0.5)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    frozen = Frozen(load_backbone(weights="random"), make_boundary(outline("alexnet"), "conv5", CONVS))
    preprocess = Preprocess(options.image_size)
    forward = FastForward(frozen, preprocess, torch.device("cpu"))
    spec = spec_of("alexnet", frozen, preprocess, "float16")
    timer = Timer()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = write_pictures(place, options.images, options.jpeg_share)
        pixels = decoded(files, options.image_size)
        in_memory = ImageDataset(pixels, files.labels, files.class_names)
        in_memory.__dict__["row_ids"] = files.row_ids  # copies are computed again in both, and digests made beforehand
        forward(preprocess.resize(pixels[: forward.batch_size]))  # kernels are chosen at the first call
        for attempt in range(options.repeats):
            timer("decode", partial(decoded, files, options.image_size))
            rows = []
            for name, images in (("forward", in_memory), ("both", files)):
                cache = place / f"cache {attempt} {name}"
                (kept,), _ = timer(name, partial(fill, [images], forward, spec, cache, workers=cores()))
                rows.append(kept.take(np.arange(len(kept))))
            torch.testing.assert_close(*rows, rtol=0, atol=0)
    report(options, timer)


def report(options: argparse.Namespace, timer: Timer) -> None:
    print(machine())
    print(f"{options.images:,} pictures, {options.jpeg_share:.0%} JPEG, {options.image_size} px")
    print("          images/s   processor's ms an image")
    seconds = {name: statistics.median(times) for name, times in timer.clock.items()}
    used = {name: statistics.median(times) for name, times in timer.processor.items()}
    for name, clock in seconds.items():
        print(f"{name:<9} {options.images / clock:>8.1f}   {used[name] / options.images * 1000:>8.2f}")
    slower, together = max(seconds["decode"], seconds["forward"]), seconds["decode"] + seconds["forward"]
    print(f"of the slower rate alone      {slower / seconds['both']:.2f} (at most {slower / together:.2f} is possible)")
    print(f"of what is possible           {together / seconds['both']:.2f}")
    work = used["decode"] + used["forward"]
    print(f"by the processor's time       {work / used['both']:.2f}")


if __name__ == "__main__":
    main()
