"""Load data sets: by name, or from a folder of images, a table, or a file of arrays."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

from frostline._utils.progress import Progress, visible
from frostline._utils.storage import cache_dir as cache_folder
from frostline.config import TrainConfig
from frostline.data import fashion_mnist
from frostline.data.arrays import load_npz
from frostline.data.dataset import Splits
from frostline.data.decoding.decode import MAX_PIXELS, USUAL_SIDE
from frostline.data.decoding.decoded import DecodedImages
from frostline.data.decoding.target import Target
from frostline.data.folder import list_folder
from frostline.data.listing import DEFAULTS, TEST_FRACTION, SourceOptions, listed_splits
from frostline.data.scan import scan
from frostline.data.table import list_table
from frostline.errors import ConfigError, DataError, UnknownNameError
from frostline.synthetic import DRAWN_OBJECTS

Loader = Callable[[Path | None, Path | None, Progress | None], Splits]


@dataclass(frozen=True)
class DataSource:
    """A named data set; ``where`` returns its current location, or ``None`` when it must be downloaded first."""

    description: str
    load: Loader
    where: Callable[[Path | None], str | None]


def _fashion_mnist_folder(cache: Path | None) -> str | None:
    found = fashion_mnist.find(None, cache)
    return str(found["train images"].parent) if found else None


def _drawn_objects(directory: Path | None, cache: Path | None, progress: Progress | None) -> Splits:
    from frostline.data.drawn_objects import load  # imports torch, which no other data set needs

    return load(progress)


SOURCES: dict[str, DataSource] = {
    fashion_mnist.NAME: DataSource(
        "60,000 + 10,000 gray 28x28 images of ten garments", fashion_mnist.load, _fashion_mnist_folder
    ),
    DRAWN_OBJECTS: DataSource(
        "3,000 + 1,000 colored 64x64 images of twenty made-up objects",
        _drawn_objects,
        lambda cache: "drawn on demand: no file",
    ),
}


TABLES = (".csv", ".tsv", ".parquet")
FILES = (*TABLES, ".npz")
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def check_data(name: str) -> None:
    """Check that a name is that of a data set, a folder, or a file of a supported type.

    Raises
    ------
    UnknownNameError
        With the nearest match.
    DataError
        When a path does not exist, or is a file of another type.
    """
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
        name.encode()
    except OSError as error:  # no permission for a parent folder, or the name is too long
        raise DataError(f"{name[:200]} cannot be opened: {error.strerror}.") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{name!r}: the path of the images is not UTF-8: rename it.") from error
    if name in SOURCES or is_folder:
        return
    if not is_file:
        _raise_missing(name, path)
    if path.suffix.lower() in ARCHIVES:
        raise DataError(f"{name} is an archive: unpack it, and give the folder that holds the class folders.")
    if path.suffix.lower() not in FILES:
        raise DataError(f"{name}: expected a folder, or a file that ends in {', '.join(FILES)}.")


def _raise_missing(name: str, path: Path) -> None:
    if os.path.lexists(path):
        raise DataError(f"{name}: expected a folder or a file ({', '.join(FILES)}), got a broken link or a device.")
    if "/" in name or "\\" in name or path.suffix.lower() in FILES:
        where = "" if path.is_absolute() else f" (looked for in {_working_folder()})"
        raise DataError(f"there is no folder or file {name}{where}: check the path.")
    alternative = f", or a folder or file ({', '.join(FILES)}) of yours, and no such file or folder exists"
    raise UnknownNameError("data set", name, SOURCES, alternative)


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise DataError("the working directory no longer exists: change to another.") from error


def absolute_data(name: str) -> str:
    """Return the name of a data set unchanged, and the path of an existing folder or file as an absolute path.

    Raises
    ------
    DataError
        When the working directory no longer exists.
    """
    if name in SOURCES:
        return name
    absolute = os.path.normpath(_working_folder() / (Path(name).expanduser() if name.startswith("~") else Path(name)))
    try:
        absolute.encode()  # a configuration file must be UTF-8
        return absolute if os.path.lexists(absolute) else name
    except (ValueError, OSError):
        return name


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return settings whose paths do not depend on the working directory.

    Raises
    ------
    DataError
        When the working directory no longer exists.
    """
    paths: dict[str, object] = {"data": absolute_data(config.data)}
    for name in ("data_dir", "root"):
        path = getattr(config, name)
        paths[name] = path and Path(absolute_data(str(path)))
    return config.model_copy(update=paths)


def redirected(config: TrainConfig, data: str | Path | None, run: str) -> TrainConfig:
    """Return a run's settings with the current path of its data: ``data`` (``--data``), or the recorded path.

    Raises
    ------
    DataError
        When the data is no longer at the recorded path.
    """
    if data is not None:
        return with_absolute_paths(config.model_copy(update={"data": str(data)}))
    if config.data in SOURCES or os.path.lexists(config.data):
        return config
    raise DataError(
        f"the images of run '{run}' are no longer at {config.data}: they were moved, renamed or removed. "
        "Give their new location with --data PATH."
    )


def data_name(name: str) -> str:
    """Return a short name for a data set that is valid in the name of a run."""
    if name in SOURCES:
        return name
    path = Path(name).absolute()
    return re.sub(r"[^\w.+]+", "-", path.name if path.is_dir() else path.stem).strip("-.+")[:80] or "images"


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
    target: Target | None = None,
) -> Splits:
    """Load a data set. Splits that a data set of your own lacks are drawn, always the same.

    Parameters
    ----------
    name : str
        A name from ``frostline data list``; or the path of a folder of class folders, of a table (``.csv``, ``.tsv``,
        ``.parquet``) or of arrays (``.npz``).
    directory : path, optional
        Folder with the files of a named data set. By default the system's folder and the cache are searched, then the
        files are downloaded.
    cache_dir : path, optional
        Frostline's cache. Default: ``FROSTLINE_CACHE_DIR``, or the platform's cache folder.
    progress : Progress, optional
        Draws progress bars.
    workers : int, optional
        Number of processes that scan image files. Default: one per core.
    strict : bool
        Raise an error for image files that cannot be read, instead of leaving them out.
    options : SourceOptions
        A table's columns, and the size of the test split.
    max_pixels : int
        Larger image files are left out.
    target : Target, optional
        The network's input: large images that are decoded now are kept for it in a temporary file.

    Raises
    ------
    UnknownNameError, DataError, DownloadError, StorageError
    """
    check_data(name)
    if name in SOURCES:
        folder, cache = (Path(path) if path else None for path in (directory, cache_dir))
        return SOURCES[name].load(folder, cache, visible(progress))
    path = Path(name).expanduser() if name.startswith("~") else Path(name)
    is_table = path.is_file() and path.suffix.lower() != ".npz"
    if directory is not None:
        raise ConfigError(f"--data-dir applies to named data sets only: {name} is a path.")
    if options.of_tables and not is_table:
        raise ConfigError(f"{options.of_tables[0]} applies to tables (.csv, .tsv, .parquet) only: {name} is none.")
    if path.is_file() and not is_table:
        return load_npz(path, data_name(name), options.test_fraction)
    cache = cache_folder(cache_dir)
    decoded = DecodedImages(cache / "scans", target) if target else None
    scan_paths = partial(
        scan, root=path, cache=cache, progress=visible(progress), workers=workers, max_pixels=max_pixels,
        decoded=decoded,
    )  # fmt: skip
    return listed_splits(
        list_table(path, options) if is_table else list_folder(path), data_name(name), scan_paths, strict=strict,
        test_fraction=options.test_fraction, max_pixels=max_pixels, decoded=decoded,
    )  # fmt: skip


class LoadOptions(TypedDict, total=False):
    """Keyword arguments that `from_folder` and `from_table` pass on to `load_dataset`."""

    cache_dir: Path | str | None
    progress: Progress | None
    workers: int | None
    strict: bool
    max_pixels: int
    target: Target | None


def from_folder(
    folder: Path | str,
    *,
    name: str | None = None,
    test_fraction: float = TEST_FRACTION,
    **load_options: Unpack[LoadOptions],
) -> Splits:
    """Load a folder of class folders, or of split folders that hold class folders.

    Parameters
    ----------
    folder : path
    name : str, optional
        Name of the data set. Default: the folder's name.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.
    **load_options
        ``cache_dir``, ``progress``, ``workers``, ``strict``, ``max_pixels`` and ``target`` as in `load_dataset`.

    Raises
    ------
    DataError
        When it is not a folder, has too few images or classes, or has the same image in two classes.
    StorageError
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DataError(f"{folder}: expected a folder of class folders, and there is no such folder: check the path.")
    splits = load_dataset(str(path.absolute()), options=SourceOptions(test_fraction=test_fraction), **load_options)
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
    **load_options: Unpack[LoadOptions],
) -> Splits:
    """Load a table of image files: ``.csv``, ``.tsv`` or ``.parquet``.

    Parameters
    ----------
    table : path
    path_column, label_column, split_column, group_column : str, optional
        Names of its columns. Default: the usual names. Images of one group share a split.
    root : path, optional
        Folder that relative paths start from. Default: the table's folder.
    name : str, optional
        Name of the data set. Default: the table's name.
    test_fraction : float
        Share of each class that is drawn as test split where there is none; 0 draws none.
    **load_options
        ``cache_dir``, ``progress``, ``workers``, ``strict``, ``max_pixels`` and ``target`` as in `load_dataset`.

    Raises
    ------
    DataError
        When it is not a table of these types, lacks a column or a value, or has too few images or classes.
    StorageError
    """
    path = Path(table).expanduser()
    if not path.is_file() or path.suffix.lower() not in TABLES:
        raise DataError(f"{table}: expected a file that ends in {', '.join(TABLES)}: check the path.")
    columns = (path_column, label_column, split_column, group_column)
    options = SourceOptions(*columns, Path(root) if root else None, test_fraction)
    splits = load_dataset(str(path.absolute()), options=options, **load_options)
    return replace(splits, name=name or splits.name)


def load_configured(
    config: TrainConfig,
    cache_dir: Path | str | None = None,
    progress: Progress | None = None,
    *,
    keep: bool = False,
) -> Splits:
    """Load the data set that settings name; raises as `load_dataset`.

    With ``keep``, large images that are decoded now are kept for a training with these settings.
    """
    options = SourceOptions(
        config.path_column, config.label_column, config.split_column, config.group_column, config.root,
        config.test_fraction,
    )  # fmt: skip
    return load_dataset(
        config.data, config.data_dir, cache_dir=cache_dir, progress=progress, workers=config.workers,
        strict=config.strict, options=options, max_pixels=config.max_pixels,
        target=Target(config.image_size or USUAL_SIDE, config.fit) if keep else None,
    )  # fmt: skip
