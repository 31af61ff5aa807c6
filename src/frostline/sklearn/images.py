"""What scikit-learn calls X: an array of images, or an array of their paths."""

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
    """An estimator whose X is images.

    ``n_features_in_`` counts the values of an image (height x width, three times that in color), and an array with
    another count is refused after `fit`, as is the custom. Image files may have any size: fitted on paths there is no
    ``n_features_in_``, and paths are always welcome.
    """

    verbose: int

    def _log_shown(self) -> AbstractContextManager[None]:
        """Print the library's log lines meanwhile, if `verbose` asks for it."""
        return listening(LineHandler(sys.stdout)) if self.verbose else nullcontext()

    @property
    def _progress(self) -> Progress | None:
        """Bars in a notebook, if `verbose` asks for them."""
        return visible(None) if self.verbose else None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def _taken(self, X: Any, *, reset: bool) -> Pixels | tuple[Path, ...]:
        """Return X as pixels or paths; ``reset`` notes what `fit` saw, else X is compared with it."""
        images = images_of(X)
        if isinstance(images, np.ndarray):
            validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        elif reset and hasattr(self, "n_features_in_"):
            del self.n_features_in_
        return images


def unlabeled(images: Pixels | tuple[Path, ...]) -> ImageDataset:
    """Return images as a data set of one class."""
    return ImageDataset(images, np.zeros(len(images), np.int64), ("",))


def usable(images: Pixels | tuple[Path, ...], cache: Path) -> tuple[ImageDataset, NDArray[np.intp]]:
    """Return the images that can be read as a data set of one class, and which of those given they are.

    A list of files that was made with ``rglob("*.*")`` may hold others, such as ``.DS_Store``: they are left out, with
    a warning. What was seen in the files is remembered in the cache.

    Raises
    ------
    InputError
        When no file can be read.
    """
    if isinstance(images, np.ndarray):
        return unlabeled(images), np.arange(len(images))
    looks = scan(images, images[0].absolute().parent / "X", cache)
    good = np.flatnonzero([look.reason is None for look in looks])
    bad = [(path, look.reason) for path, look in zip(images, looks, strict=True) if look.reason is not None]
    if bad:
        first = f"{bad[0][0]} {bad[0][1]}"
        if not len(good):
            raise InputError(f"X: none of {len(images):,} files is an image that can be read; {first}.")
        log.warning("X: %d of %d files cannot be read and are left out; %s", len(bad), len(images), first)
    row_of = {images[i]: looks[i].row_id for i in good}
    dataset = ImageDataset(
        tuple(images[i] for i in good),
        np.zeros(len(good), np.int64),
        ("",),
        identify=lambda wanted: [row_of[path] for path in wanted],
        longest_side=max(looks[i].side for i in good),
        levels=choose_levels([looks[i].tones for i in good]),
    )
    return dataset, good


def images_of(X: Any) -> Pixels | tuple[Path, ...]:
    """Return pixels (N, H, W) or (N, H, W, 3), or the paths of N files.

    Parameters
    ----------
    X : array-like
        uint8 of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3); or N texts or paths, in one column at most.

    Raises
    ------
    InputError
        When it is anything else, or nothing.
    """
    if hasattr(X, "toarray"):
        raise InputError("X is a sparse matrix: expected a uint8 array of images, or paths: X.toarray() is dense.")
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InputError("X: images of several sizes make no array: resize them, or give their paths.") from error
    if array.ndim and not len(array):
        raise InputError("X: found 0 sample(s), no image at all: at least one is needed.")
    if array.size == 0:
        raise InputError(f"X: found 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: no pixels.")
    paths = _paths(array)
    if paths is not None:
        return paths
    try:
        return check_pixels(array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array)
    except DataError as error:
        raise InputError(
            "X: expected a uint8 array of images, (N, H, W) or (N, H, W, 3), or N paths, "
            f"got {array.dtype} {array.shape}. {_advice(array)}"
        ) from error


def _advice(array: NDArray[Any]) -> str:
    if array.dtype == object:
        return "Give images of several sizes, or in several forms, as paths."
    if array.ndim < 3:
        return "Reshape your data: X.reshape(-1, HEIGHT, WIDTH) for flattened images, X[None] for a single one."
    return "Channels come last." if array.dtype == np.uint8 else "Scale it to 0..255, then X.astype(np.uint8)."


def _paths(array: NDArray[Any]) -> tuple[Path, ...] | None:
    column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if column.ndim != 1 or column.dtype.kind not in "OUT":
        return None
    return tuple(map(Path, column)) if all(isinstance(value, str | os.PathLike) for value in column) else None
