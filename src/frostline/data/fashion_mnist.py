"""Fashion-MNIST: 60,000 + 10,000 gray images of 28 x 28 pixels, ten garments.

Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747. Names, addresses and MD5s: the README of
github.com/zalandoresearch/fashion-mnist.
"""

import gzip
import hashlib
import logging
import math
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from frostline._utils.download import download
from frostline._utils.files import open_file
from frostline._utils.progress import Progress, log
from frostline._utils.storage import cache_dir
from frostline.data.dataset import ImageDataset, Splits
from frostline.errors import DataError

MAX_HEADER_BYTES = 4 + 4 * 255
MAX_BYTES = 1 << 30  # far above any published file; a larger size in a header means a broken or hostile file


def read_idx_and_md5(path: Path, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    """Read an IDX file of unsigned bytes, plain or gzip by its content; return the array and the unpacked file's MD5.

    Parameters
    ----------
    path : Path
    dimensions : int
        Expected number of dimensions: 3 for images (N, H, W), 1 for labels (N,).

    Raises
    ------
    DataError
        When it is missing, of another type, truncated, longer than its header states, or larger than 1 GiB.
    """
    try:
        with open_file(path, MAX_BYTES + MAX_HEADER_BYTES) as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            return _read(cast(BinaryIO, gzip.open(raw) if packed else raw), path, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is damaged or truncated ({error}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read(file: BinaryIO, path: Path, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    header = file.read(4 + 4 * dimensions)
    if header[:4] != bytes((0, 0, 8, dimensions)) or len(header) < 4 + 4 * dimensions:
        raise DataError(
            f"{path} is not an IDX file of {dimensions}-dimensional bytes: expected it to begin with "
            f"00 00 08 {dimensions:02x}, got {header[:4].hex(' ') or 'nothing'}."
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    size = math.prod(shape)
    if size > MAX_BYTES:
        raise DataError(f"{path} claims {size:,} bytes of data (shape {shape}): at most {MAX_BYTES:,} are read.")
    data = file.read(size + 1)
    if len(data) != size:
        found = "more than" if len(data) > size else f"{len(data):,} of"
        raise DataError(f"{path} has {found} the {size:,} bytes that its header {shape} states: get the file again.")
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(data)
    return np.frombuffer(data, np.uint8).reshape(shape), digest.hexdigest()


NAME = "fashion-mnist"
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
PUBLISHED_COUNTS = {60_000, 10_000}
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # Debian: apt-get install dataset-fashion-mnist
BASES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
)


@dataclass(frozen=True)
class Part:
    """One published file: its name without ``.gz``, the MD5 of the published gz, and the MD5 of the unpacked content.

    The content is also that of Debian's package ``dataset-fashion-mnist`` 0.0~git20200523.55506a9-1, which repacks it.
    """

    name: str
    gz_md5: str
    content_md5: str


FILES = {
    "train images": Part(
        "train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"
    ),
    "train labels": Part(
        "train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"
    ),
    "test images": Part(
        "t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"
    ),
    "test labels": Part(
        "t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"
    ),
}


def find(
    directory: Path | None = None, cache: Path | None = None, *, system: Path = SYSTEM_FOLDER
) -> dict[str, Path] | None:
    """Return the paths of the four files, or ``None`` when no folder has them all.

    Only ``directory`` is searched when it is given; otherwise the ``system`` folder, then Frostline's cache.
    """
    for folder in [directory] if directory else [system, store(cache)]:
        paths = {role: path for role, part in FILES.items() if (path := _existing(folder, part.name)) is not None}
        if len(paths) == len(FILES):
            return paths
    return None


def store(cache: Path | None = None) -> Path:
    """Return the folder that downloads go to."""
    return cache_dir(cache) / "datasets" / NAME


def _existing(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def get(
    directory: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    system: Path = SYSTEM_FOLDER,
) -> dict[str, Path]:
    """Return the four files, downloading what is missing into the cache.

    Raises
    ------
    DataError
        When an explicit ``directory`` lacks a file.
    DownloadError
        When no address delivers one.
    """
    paths = find(directory, cache, system=system)
    if paths is not None:
        return paths
    if directory is not None:
        names = ", ".join(part.name for part in FILES.values())
        raise DataError(f"{directory} does not contain Fashion-MNIST: expected {names} (plain or .gz).")
    folder = store(cache)
    for part in FILES.values():
        if _existing(folder, part.name) is None:
            file = f"{part.name}.gz"
            urls = [base + file for base in BASES]
            download(urls, folder / file, algorithm="md5", digest_head=part.gz_md5, progress=progress)
    paths = find(None, cache, system=system)
    if paths is None:
        raise DataError(f"the files of Fashion-MNIST disappeared from {folder} during the download.")
    return paths


def load(
    directory: Path | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
    *,
    system: Path = SYSTEM_FOLDER,
) -> Splits:
    """Load Fashion-MNIST from the files of `get`, which may be modified ones in an explicit ``directory``.

    Raises
    ------
    DataError
        When a file is damaged or not the published one, or images and labels do not fit together.
    """
    paths = get(directory, cache, progress, system=system)
    with ThreadPoolExecutor(2) as pool:  # unpacking and hashing release the GIL
        read = dict(zip(FILES, pool.map(lambda role: _content(paths[role], FILES[role]), FILES), strict=True))
    modified = [paths[role] for role, (_, published) in read.items() if not published]
    if modified and directory is None:
        raise DataError(f"{modified[0]} is not the published file (its MD5 is wrong): get it again, or remove it.")
    if modified:
        names = ", ".join(path.name for path in modified)
        counts = {len(read[role][0]) for role in FILES if paths[role] in modified}
        level = logging.WARNING if counts & PUBLISHED_COUNTS else logging.INFO  # damaged, or a data set of one's own
        log.log(level, "not the published files of Fashion-MNIST, used anyway: %s in %s", names, directory)
    parts = {}
    for split in ("train", "test"):
        images, labels = read[f"{split} images"][0], read[f"{split} labels"][0]
        try:
            parts[split] = ImageDataset(images, labels.astype(np.int64), CLASS_NAMES)
        except DataError as error:
            raise DataError(
                f"{paths[f'{split} images']} and {paths[f'{split} labels']} do not fit together: {error}"
            ) from error
    return Splits(NAME, parts["train"], parts["test"], str(paths["train images"].parent))


def content_matches(path: Path, part: Part) -> bool:
    """Whether a file is the published one, by the MD5 of its unpacked content."""
    return _content(path, part)[1]


def _content(path: Path, part: Part) -> tuple[NDArray[np.uint8], bool]:
    array, md5 = read_idx_and_md5(path, 3 if "idx3" in part.name else 1)
    return array, md5 == part.content_md5
