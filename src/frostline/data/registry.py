"""The data sets that have a name, and those that a person has: a folder, a table, a file of arrays."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from frostline._utils.progress import Progress, visible
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig
from frostline.data import fashion_mnist
from frostline.data.arrays import load_npz
from frostline.data.dataset import Splits
from frostline.data.decoding.decode import MAX_PIXELS
from frostline.data.folder import list_folder
from frostline.data.listing import DEFAULTS, TEST_FRACTION, SourceOptions, listed_splits
from frostline.data.scan import scan
from frostline.data.table import list_table
from frostline.errors import ConfigError, DataError, UnknownNameError
from frostline.synthetic import DRAWN_OBJECTS

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
    from frostline.data.drawn_objects import load  # brings torch, which no other name needs

    return load(progress)


SOURCES: dict[str, DataSource] = {
    fashion_mnist.NAME: DataSource(
        "60,000 + 10,000 gray 28x28 images of ten garments", fashion_mnist.load, _fashion_mnist_folder
    ),
    DRAWN_OBJECTS: DataSource(
        "3,000 + 1,000 colored 64x64 images of twenty made-up objects",
        _drawn_objects,
        lambda cache: "drawn when it is needed: no file",
    ),
}


TABLES = (".csv", ".tsv", ".parquet")
FILES = (*TABLES, ".npz")


def check_data(name: str) -> None:
    """Refuse what is neither the name of a data set nor a folder or file that may be one.

    Raises
    ------
    UnknownNameError
        With the nearest match.
    DataError
        When it is a path that leads nowhere, or to a file of another kind.
    """
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
        name.encode()
    except OSError as error:  # a folder on the way that may not be looked into, a name that is too long
        raise DataError(f"{name[:200]} cannot be opened: {error.strerror}.") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{name!r}: the path of the images is no UTF-8: rename it.") from error
    if name in SOURCES or is_folder:
        return
    if not is_file:
        _refuse_missing(name, path)
    if path.suffix.lower() not in FILES:
        raise DataError(f"{name}: expected a folder, or a file that ends in {', '.join(FILES)}.")


def _refuse_missing(name: str, path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{name}: expected a folder or a file ({', '.join(FILES)}), got a link to nothing or a device.")
    if "/" in name or "\\" in name or path.suffix.lower() in FILES:
        where = "" if path.is_absolute() else f" (looked for in {_working_folder()})"
        raise DataError(f"there is no folder or file {name}{where}: check the path.")
    own = f", or a folder or file ({', '.join(FILES)}) of yours, and no such file or folder exists"
    raise UnknownNameError("data set", name, SOURCES, own)


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise DataError("the working directory no longer exists: change to another.") from error


def absolute_data(name: str) -> str:
    """Return a data set as it can be named from every folder: its own name, or the absolute path of what exists here.

    Raises
    ------
    DataError
        When the working directory no longer exists.
    """
    if name in SOURCES:
        return name
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    whole = os.path.normpath(_working_folder() / path)
    try:
        whole.encode()  # a configuration file must be UTF-8
        return whole if os.path.lexists(whole) else name
    except (ValueError, OSError):
        return name


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return settings that name the same images in every working directory.

    Raises
    ------
    DataError
        When the working directory no longer exists.
    """
    paths: dict[str, object] = {"data": absolute_data(config.data)}
    for name in ("data_dir", "root"):
        given = getattr(config, name)
        paths[name] = given and Path(absolute_data(str(given)))
    return config.model_copy(update=paths)


def redirected(config: TrainConfig, data: str | Path | None, run: str) -> TrainConfig:
    """Return a run's settings with its data where it is now.

    Parameters
    ----------
    config : TrainConfig
        The run's.
    data : path, optional
        Where the data is now (``--data``); where it was when the run was begun when left out.
    run : str
        Its name, for messages.

    Raises
    ------
    DataError
        When the data is not there.
    """
    if data is not None:
        return with_absolute_paths(config.model_copy(update={"data": str(data)}))
    if config.data in SOURCES or os.path.lexists(config.data):
        return config
    raise DataError(
        f"the images of run '{run}' are no longer at {config.data}: they were moved, renamed or removed. "
        "--data PATH says where they are now."
    )


def data_name(name: str) -> str:
    """Return a short name of a data set: its own, or its folder's or file's, made fit for the name of a run."""
    if name in SOURCES:
        return name
    path = Path(name).absolute()
    own = path.name if path.is_dir() else path.stem
    return re.sub(r"[^\w.+]+", "-", own).strip("-.+")[:80] or "images"


def load_dataset(
    name: str,
    directory: Path | str | None = None,
    *,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    strict: bool = False,
    options: SourceOptions = DEFAULTS,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Load a data set.

    Parameters
    ----------
    name : str
        A name from ``frostline data list``; or the path of a folder of class folders, of a table (``.csv``, ``.tsv``,
        ``.parquet``) or of arrays (``.npz``).
    directory : path, optional
        The folder that holds its files; looked for in the system's folder, then in the cache, then downloaded when
        left out.
    cache_dir : path, optional
        Frostline's cache; ``FROSTLINE_CACHE_DIR`` or the platform's own when left out.
    progress : Progress, optional
        Draws bars.
    workers : int, optional
        Processes that look at image files; all cores when left out.
    strict : bool
        Refuse image files that cannot be read, instead of leaving them out.
    options : SourceOptions
        A table's columns, and how much to test on.
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
            Path(directory) if directory else None, Path(cache_dir) if cache_dir else None, visible(progress)
        )
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    if directory is not None:
        raise ConfigError(f"--data-dir belongs to a data set with a name: {name} says itself where it is.")
    is_table = path.is_file() and path.suffix.lower() != ".npz"
    if options.of_tables and not is_table:
        raise ConfigError(f"{options.of_tables[0]} belongs to a table (.csv, .tsv, .parquet): {name} is none.")
    if path.is_file() and not is_table:
        return load_npz(path, data_name(name), options.test_fraction)
    listing = list_table(path, options) if is_table else list_folder(path)
    look = partial(scan, root=path, cache=cache_folder(cache_dir), progress=visible(progress), workers=workers)
    look = partial(look, max_pixels=max_pixels)
    return listed_splits(
        listing, data_name(name), look, strict=strict, test_fraction=options.test_fraction, max_pixels=max_pixels
    )


def from_folder(
    folder: Path | str,
    *,
    name: str | None = None,
    test_fraction: float = TEST_FRACTION,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Make a data set of a folder of class folders, or of split folders that hold class folders.

    Parameters
    ----------
    folder : path
    name : str, optional
        What the data set is called; the folder's name when left out.
    test_fraction, cache_dir, progress, workers, strict, max_pixels
        As in `load_dataset`.

    Raises
    ------
    DataError
        When it is no folder, has too few images or classes, or shows one image under two classes.
    StorageError
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"{folder}: expected a folder of class folders, and there is no such folder: check the path.")
    splits = load_dataset(
        str(path.absolute()), cache_dir=cache_dir, progress=progress, workers=workers, strict=strict,
        options=SourceOptions(test_fraction=test_fraction), max_pixels=max_pixels,
    )  # fmt: skip
    return replace(splits, name=name or splits.name)


def from_table(
    table: Path | str,
    *,
    path_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    root: Path | str | None = None,
    name: str | None = None,
    test_fraction: float = TEST_FRACTION,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    strict: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> Splits:
    """Make a data set of a table of image files, ``.csv``, ``.tsv`` or ``.parquet``.

    Parameters
    ----------
    table : path
    path_column, label_column, split_column, group_column : str, optional
        Names of its columns; the usual names are looked for when left out. Images of one group share a split.
    root : path, optional
        The folder that relative paths start from; the table's own when left out.
    name : str, optional
        What the data set is called; the table's name when left out.
    test_fraction, cache_dir, progress, workers, strict, max_pixels
        As in `load_dataset`.

    Raises
    ------
    DataError
        When it is no such table, lacks a column or a value, or has too few images or classes.
    StorageError
    """
    path = Path(table).expanduser()
    if not path.is_file() or path.suffix.lower() not in TABLES:
        raise DataError(f"{table}: expected a file that ends in {', '.join(TABLES)}: check the path.")
    columns = (path_column, label_column, split_column, group_column)
    splits = load_dataset(
        str(path.absolute()), cache_dir=cache_dir, progress=progress, workers=workers, strict=strict,
        options=SourceOptions(*columns, Path(root) if root else None, test_fraction), max_pixels=max_pixels,
    )  # fmt: skip
    return replace(splits, name=name or splits.name)


def load_configured(
    config: TrainConfig, cache_dir: Path | str | None = None, progress: Progress | None = None
) -> Splits:
    """Load the data set that settings name, as they say; see `load_dataset` for what is raised."""
    options = SourceOptions(
        config.path_column,
        config.label_column,
        config.split_column,
        config.group_column,
        config.root,
        config.test_fraction,
    )
    return load_dataset(
        config.data,
        config.data_dir,
        cache_dir=cache_dir,
        progress=progress,
        workers=config.workers,
        strict=config.strict,
        max_pixels=config.max_pixels,
        options=options,
    )
