"""The data sets that have a name, and those that a person has: a folder, a table, a file of arrays."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from frostline.errors import ConfigError, DataError, UnknownNameError
from frostline.images import drawn, fashion_mnist
from frostline.images.arrays import load_npz
from frostline.images.dataset import Splits
from frostline.images.decode import MAX_PIXELS
from frostline.images.folder import list_folder
from frostline.images.listing import listed_splits
from frostline.images.scan import scan
from frostline.images.table import list_table
from frostline.progress import Progress
from frostline.storage import cache_dir as cache_folder

Loader = Callable[[Path | None, Path | None, Progress | None], Splits]


@dataclass(frozen=True)
class DataSource:
    """A named data set, how it is loaded, and where it is now (``None`` when it must be downloaded first)."""

    description: str
    load: Loader
    where: Callable[[Path | None], str | None]


def _fashion_mnist_folder(cache: Path | None) -> str | None:
    found = fashion_mnist.find(None, cache)
    return str(found["train images"].parent) if found else None


def _drawn_objects(directory: Path | None, cache: Path | None, progress: Progress | None) -> Splits:
    from frostline.images.drawn.dataset import load  # brings torch, which no other name needs

    return load(progress)


SOURCES: dict[str, DataSource] = {
    fashion_mnist.NAME: DataSource(
        "60,000 + 10,000 grey 28x28 images of ten garments", fashion_mnist.load, _fashion_mnist_folder
    ),
    drawn.NAME: DataSource(
        "3,000 + 1,000 coloured 64x64 pictures of twenty made-up objects",
        _drawn_objects,
        lambda cache: "drawn when it is needed: no file",
    ),
}


FILES = (".csv", ".parquet", ".npz")


def check_data(name: str) -> None:
    """Refuse what is neither the name of a data set nor a folder or file that may be one.

    Raises
    ------
    UnknownNameError
        With the nearest match.
    DataError
        When it is a file of another kind.
    """
    path = Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:  # a folder on the way that may not be looked into, a name that is too long
        raise DataError(f"{name[:200]} cannot be opened: {error.strerror}.") from error
    if name in SOURCES or is_folder:
        return
    if not is_file:
        own = ", or a folder or file (.csv, .parquet, .npz) of yours, and no such file or folder exists"
        raise UnknownNameError("data set", name, SOURCES, own)
    if path.suffix.lower() not in FILES:
        raise DataError(f"{name}: expected a folder, or a file that ends in .csv, .parquet or .npz.")


def data_name(name: str) -> str:
    """Return a short name of a data set: its own, or its folder's or file's, made fit for the name of a run."""
    if name in SOURCES:
        return name
    path = Path(name).absolute()
    own = path.name if path.is_dir() else path.stem
    return re.sub(r"[^\w.+]+", "-", own).strip("-.+")[:80] or "pictures"


def load_dataset(
    name: str,
    directory: Path | str | None = None,
    *,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Load a data set.

    Parameters
    ----------
    name : str
        A name from ``frostline data list``; or the path of a folder of class folders, of a table (``.csv``,
        ``.parquet``) or of arrays (``.npz``).
    directory : path, optional
        The folder that holds its files; looked for in the system's folder, then in the cache, then downloaded when
        left out.
    cache_dir : path, optional
        Frostline's cache; ``FROSTLINE_CACHE_DIR`` or the platform's own when left out.
    progress : Progress, optional
        Draws bars.
    workers : int, optional
        Processes that look at picture files; all cores when left out.
    strict : bool
        Refuse picture files that cannot be read, instead of leaving them out.
    max_pixels : int
        What an image file may claim to have; larger ones are left out.

    Returns
    -------
    Splits
        As published; what a data set of your own lacks is drawn, always the same.

    Raises
    ------
    UnknownNameError, DataError, DownloadError, StorageError
    """
    check_data(name)
    if name in SOURCES:
        return SOURCES[name].load(
            Path(directory) if directory else None, Path(cache_dir) if cache_dir else None, progress
        )
    path = Path(name)
    if directory is not None:
        raise ConfigError(f"--data-dir belongs to a data set with a name: {name} says itself where it is.")
    if path.suffix.lower() == ".npz" and path.is_file():
        return load_npz(path, data_name(name))
    listing = list_folder(path) if path.is_dir() else list_table(path)
    look = partial(scan, root=path, cache=cache_folder(cache_dir), progress=progress, workers=workers)
    look = partial(look, max_pixels=max_pixels)
    return listed_splits(listing, data_name(name), look, strict=strict, max_pixels=max_pixels)
