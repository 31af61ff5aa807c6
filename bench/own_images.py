"""Do decoding and the frozen pass together keep all cores busy on a folder of photographs?

    python -m bench own_images [--images 5000] [--jpeg-share 0.5] [--image-size 224] [--repeats 3]

Makes images of 640 x 480 pixels (smooth noise of many scales with sensor noise on top), JPEG at quality 90 and PNG,
mixed. Three things are timed, in turn, with all cores each:

    decode    worker processes read, decode, halve and crop every file, and return the pixels
    forward   the frozen pass over those pixels in memory: resizing, network, shards written and synced
    both      the frozen pass over the files

When decoding takes d seconds an image with all cores and forward f, both take d + f at best, for the same cores do
both: the rate is at most 1 / (d + f). That is 85 % of the slower of the two rates alone only where the faster takes at
most 0.18 of the slower's time. So two shares are printed: of the slower rate alone, and of the possible 1 / (d + f).
Times are medians; the processor time of all processes is printed, too, since it hardly depends on what else a machine
does. Up to 512 images are decoded by threads, without other processes. Asserts that the features of both ways are the
same, bit for bit.

About 6 minutes on 2 cores.
"""

import io
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.common.features import frozen_alexnet, spec_for, warm_up
from bench.common.options import start
from bench.common.tables import Table
from bench.common.timing import Stopwatch, alternate
from frostline._utils.machine import cores
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.pool import Workers
from frostline.data.decoding.target import Target
from frostline.features.extract import fill


def photograph(rng: np.random.Generator) -> Image.Image:
    """Draw smooth noise of many scales, the coarse ones strongest, and a little noise of a sensor."""
    pixels = 128 + 2 * rng.normal(size=(480, 640, 3)).astype(np.float32)
    for side in (3, 6, 12, 30, 60, 120, 240):
        coarse = rng.normal(size=(3, side, side * 4 // 3)).astype(np.float32)
        for channel in range(3):
            plane = Image.fromarray(coarse[channel]).resize((640, 480), Image.Resampling.BICUBIC)
            pixels[..., channel] += 240 / side * np.asarray(plane)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_images(folder: Path, count: int, jpeg_share: float, drawn: int = 20) -> ImageDataset:
    """Write files with bytes of their own: few images are drawn, and a number after their end distinguishes copies."""
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


def decoded(images: ImageDataset, side: int) -> np.ndarray:
    """Decode all files in processes, as the frozen pass does."""
    with Workers(cores()) as workers:
        return np.stack(images.decoding(np.arange(len(images)), Target(side), workers)())


def main(arguments: Sequence[str]) -> None:
    options = start(__doc__, arguments, images=5000, jpeg_share=0.5, image_size=224, repeats=3)
    forward = frozen_alexnet(image_size=options.image_size)
    spec = spec_for(forward)
    watches = defaultdict[str, list[Stopwatch]](list)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = write_images(place, options.images, options.jpeg_share)
        pixels = decoded(files, options.image_size)
        in_memory = ImageDataset(pixels, files.labels, files.class_names)
        in_memory.__dict__["row_ids"] = files.row_ids  # the same rows, and no file hashed in the clock
        warm_up(forward, in_memory)

        def frozen_pass(images: ImageDataset) -> Any:
            (rows,), _ = fill([images], forward, spec, Path(tempfile.mkdtemp(dir=place)), workers=cores())
            return rows

        def decode() -> None:
            decoded(files, options.image_size)

        ways = {
            "decode": decode,
            "forward": lambda: frozen_pass(in_memory),
            "both": lambda: frozen_pass(files),
        }
        features = {}
        for name, result, watch in alternate(ways, options.repeats):
            watches[name].append(watch)
            features[name] = result
            if name == "both":
                found = [features[way].take(np.arange(options.images)) for way in ("forward", "both")]
                torch.testing.assert_close(*found, rtol=0, atol=0)
    report(watches, options.images)


def report(watches: dict[str, list[Stopwatch]], images: int) -> None:
    table = Table("work:8", "images/s:>9", "processor ms an image:>21")
    clock = {name: statistics.median(watch.seconds for watch in times) for name, times in watches.items()}
    used = {name: statistics.median(watch.processor_seconds for watch in times) for name, times in watches.items()}
    for name in watches:
        table.row(name, f"{images / clock[name]:.1f}", f"{used[name] / images * 1000:.2f}")
    slower, together = max(clock["decode"], clock["forward"]), clock["decode"] + clock["forward"]
    print(f"of the slower rate alone      {slower / clock['both']:.2f} (at most {slower / together:.2f} is possible)")
    print(f"of what is possible           {together / clock['both']:.2f}")
    print(f"by processor time             {(used['decode'] + used['forward']) / used['both']:.2f}")
