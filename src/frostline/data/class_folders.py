"""Writing a data set as class folders, DIR/SPLIT/CLASS/000001.png, which any program reads."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from frostline._utils.files import read_bytes
from frostline._utils.progress import Progress, visible
from frostline.data.dataset import ImageDataset, Splits
from frostline.data.decoding.decode import MAX_BYTES
from frostline.data.encoding import to_png
from frostline.data.folder_names import folder_names
from frostline.errors import ConfigError, DataError, storage_error

REMEDY = "another DIR chooses another place"


def check_new_folder(folder: Path) -> None:
    """Refuse a folder that contains anything.

    Raises
    ------
    ConfigError, StorageError
    """
    try:
        first = min((entry.name for entry in os.scandir(folder)), default=None)
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, folder, REMEDY) from error
    if first is not None:
        raise ConfigError(f"{folder} is not empty (it contains {first}): choose a new folder.")


def write_class_folders(
    splits: Splits, folder: Path, *, per_class: int | None = None, progress: Progress | None = None
) -> dict[str, int]:
    """Write each image of a data set to ``folder/SPLIT/CLASS/NUMBER.png``; files are copied as they are.

    Parameters
    ----------
    splits : Splits
    folder : Path
        New or empty. What was written is removed again if an image cannot be read or written.
    per_class : int, optional
        Write only the first images of each class in each split.
    progress : Progress, optional

    Returns
    -------
    dict of str to int
        Number of images by split.

    Raises
    ------
    ConfigError
        If the folder contains anything.
    DataError, StorageError
        If an image cannot be read, or not be written.
    """
    check_new_folder(folder)
    parts = {name: part for name, part in splits.parts.items() if len(part)}
    chosen = {name: _first_of_each(part, per_class) for name, part in parts.items()}
    names = folder_names(splits.train.class_names)
    existed = folder.is_dir()
    made: list[Path] = []
    try:
        with visible(progress).bar("writing", sum(map(len, chosen.values())), "images") as bar:
            for split, positions in chosen.items():
                for path in _write(parts[split], positions, folder / split, names):
                    made.append(path)
                    bar.advance(1)
    except BaseException:
        _remove(made, folder, keep=existed)
        raise
    return {split: len(positions) for split, positions in chosen.items()}


def _first_of_each(part: ImageDataset, count: int | None) -> list[int]:
    """Return the positions of the first ``count`` images of each class, by default of all; by class."""
    return [
        int(position)
        for label in range(len(part.class_names))
        for position in np.flatnonzero(part.labels == label)[:count]
    ]


def _write(part: ImageDataset, positions: list[int], folder: Path, names: list[str]) -> Iterator[Path]:
    """Write images, numbered within their class, and yield their paths."""
    numbers = dict.fromkeys(names, 0)
    for position in positions:
        name = names[part.labels[position]]
        numbers[name] += 1
        suffix, data = _encoded(part, position)
        path = folder / name / f"{numbers[name]:06d}{suffix}"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                yield path
                file.write(data)
        except OSError as error:
            raise storage_error(error, path, REMEDY) from error


def _encoded(part: ImageDataset, position: int) -> tuple[str, bytes]:
    images = part.images
    if isinstance(images, np.ndarray):
        return ".png", to_png(images[position])
    file = images[position]
    try:
        return file.suffix.lower(), read_bytes(file, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}.") from error


def _remove(files: list[Path], folder: Path, *, keep: bool) -> None:
    """Remove files, and the folders below ``folder`` that are empty then; itself, too, unless it is to be kept."""
    with suppress(OSError):  # the error that ended the export matters more
        for path in files:
            path.unlink(missing_ok=True)
    parents = {parent for path in files for parent in path.parents if parent.is_relative_to(folder)}
    parents -= {folder} if keep else set()
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        with suppress(OSError):
            parent.rmdir()
