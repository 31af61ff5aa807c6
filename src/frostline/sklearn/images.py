"""Validation of X: an array of images, or an array of their paths."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from frostline._utils.progress import LineHandler, Progress, listening, log, visible
from frostline.data.dataset import ImageDataset, Pixels, check_pixels
from frostline.data.levels import choose_levels
from frostline.data.scan import scan
from frostline.errors import DataError, InputError


class ImageInput(BaseEstimator):  # type: ignore[misc]
    """Base of the estimators whose X is images.

    ``n_features_in_`` is the number of values of an image (height x width, three times that in color), and `fit`
    determines it, as usual. Image files may have any size: after a fit on paths there is no ``n_features_in_``, and
    paths are always accepted.
    """

    verbose: int

    def _logging(self) -> AbstractContextManager[None]:
        """Print log messages in this context if ``verbose`` is set."""
        return listening(LineHandler(sys.stdout)) if self.verbose else nullcontext()

    @property
    def _progress(self) -> Progress | None:
        """Progress bars in a notebook if ``verbose`` is set."""
        return visible(None) if self.verbose else None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def _check_images(self, X: Any, *, reset: bool) -> Pixels | tuple[Path, ...]:
        """Return X as pixels or paths; ``reset`` stores ``n_features_in_``, otherwise X is compared with it."""
        images = as_pixels_or_paths(X)
        if isinstance(images, np.ndarray):
            validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        elif reset and hasattr(self, "n_features_in_"):
            del self.n_features_in_
        return images


def unlabeled(images: Pixels | tuple[Path, ...]) -> ImageDataset:
    """Return images as a data set of one class."""
    return ImageDataset(images, np.zeros(len(images), np.int64), ("",))


def readable_images(images: Pixels | tuple[Path, ...], cache: Path) -> tuple[ImageDataset, NDArray[np.intp]]:
    """Return the readable images as a data set of one class, and their positions.

    Other files, such as a ``.DS_Store`` found by ``rglob("*.*")``, are left out with a warning. The scan of the files
    is cached.

    Raises
    ------
    InputError
        When no file can be read.
    """
    if isinstance(images, np.ndarray):
        return unlabeled(images), np.arange(len(images))
    scanned = scan(images, images[0].absolute().parent / "X", cache)
    good = np.flatnonzero([file.reason is None for file in scanned])
    bad = [(path, file.reason) for path, file in zip(images, scanned, strict=True) if file.reason is not None]
    if bad:
        first = f"{bad[0][0]} {bad[0][1]}"
        if not len(good):
            raise InputError(f"X: none of {len(images):,} files is a readable image; {first}.")
        log.warning("X: %d of %d files cannot be read and are left out; %s", len(bad), len(images), first)
    row_of = {images[i]: scanned[i].row_id for i in good}
    dataset = ImageDataset(
        tuple(images[i] for i in good),
        np.zeros(len(good), np.int64),
        ("",),
        identify=lambda wanted: [row_of[path] for path in wanted],
        longest_side=max(scanned[i].side for i in good),
        levels=choose_levels([scanned[i].tones for i in good]),
    )
    return dataset, good


def as_pixels_or_paths(X: Any) -> Pixels | tuple[Path, ...]:
    """Return pixels (N, H, W) or (N, H, W, 3), or the paths of N files.

    Parameters
    ----------
    X : array-like
        uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); or N strings or paths, at most one column.

    Raises
    ------
    InputError
        When X is anything else, or empty.
    """
    if hasattr(X, "toarray"):
        raise InputError("X is a sparse matrix: expected a uint8 array of images, or paths: X.toarray() is dense.")
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InputError("X: images of different sizes are no array: resize them, or give their paths.") from error
    if array.ndim and not len(array):
        raise InputError("X: found 0 sample(s) while a minimum of 1 is required: give at least one image.")
    if array.size == 0:
        raise InputError(f"X: found 0 feature(s) (shape={array.shape}) while a minimum of 1 is required.")
    paths = _paths(array)
    if paths is not None:
        return paths
    try:
        return check_pixels(array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array)
    except DataError as error:
        raise InputError(
            "X: expected a uint8 array of images, (N, H, W) or (N, H, W, 3), or N paths, "
            f"got {array.dtype} {array.shape}. {_remedy(array)}"
        ) from error


def _remedy(array: NDArray[Any]) -> str:
    if array.dtype == object:
        return "Give images of different sizes, or in different forms, as paths."
    if array.ndim < 3:
        return "Reshape your data: X.reshape(-1, HEIGHT, WIDTH) for flattened images, X[None] for a single one."
    return "Channels come last." if array.dtype == np.uint8 else "Scale it to 0..255, then X.astype(np.uint8)."


def _paths(array: NDArray[Any]) -> tuple[Path, ...] | None:
    column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if column.ndim != 1 or column.dtype.kind not in "OUT":
        return None
    return tuple(map(Path, column)) if all(isinstance(value, str | os.PathLike) for value in column) else None
