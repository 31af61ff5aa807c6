"""What scikit-learn calls X: an array of pictures, or an array of their paths."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import Tags
from sklearn.utils.validation import validate_data

from frostline.errors import DataError, InputError
from frostline.images.dataset import ImageDataset, Pixels, check_pixels
from frostline.images.decode import picture_side


class TakesPictures(BaseEstimator):  # type: ignore[misc]
    """An estimator whose X is pictures.

    ``n_features_in_`` counts the values of a picture (height x width, three times that in colour), and an array with
    another count is refused after `fit`, as is the custom. Picture files may have any size: fitted on paths there is no
    ``n_features_in_``, and paths are always welcome.
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        return tags

    def _taken(self, X: Any, *, reset: bool) -> Pixels | tuple[Path, ...]:
        """Return X as pixels or paths; ``reset`` notes what `fit` saw, else X is compared with it."""
        images = pictures_of(X)
        if isinstance(images, np.ndarray):
            validate_data(self, images.reshape(len(images), -1), reset=reset, skip_check_array=True)
        elif reset and hasattr(self, "n_features_in_"):
            del self.n_features_in_
        return images


def unlabelled(images: Pixels | tuple[Path, ...], side: int | None = None) -> ImageDataset:
    """Return pictures as a data set of one class; ``side`` is their longest, where it is known."""
    return ImageDataset(images, np.zeros(len(images), np.int64), ("",), longest_side=side)


def longest_side(images: Pixels | tuple[Path, ...]) -> int:
    """Return the longest side of any picture in pixels; of files the headers are read."""
    return max(images.shape[1:3]) if isinstance(images, np.ndarray) else max(map(picture_side, images))


def pictures_of(X: Any) -> Pixels | tuple[Path, ...]:
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
        raise InputError("X is a sparse matrix: expected a uint8 array of pictures, or paths: X.toarray() is dense.")
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise InputError("X: pictures of several sizes make no array: resize them, or give their paths.") from error
    if array.ndim and not len(array):
        raise InputError("X: found 0 sample(s), no picture at all: at least one is needed.")
    if array.size == 0:
        raise InputError(f"X: found 0 feature(s) (shape={array.shape}) while a minimum of 1 is required: no pixels.")
    paths = _paths(array)
    if paths is not None:
        return paths
    try:
        return check_pixels(array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array)
    except DataError as error:
        raise InputError(
            "X: expected a uint8 array of pictures, (N, H, W) or (N, H, W, 3), or N paths, "
            f"got {array.dtype} {array.shape}. {_advice(array)}"
        ) from error


def _advice(array: NDArray[Any]) -> str:
    if array.dtype == object:
        return "Give pictures of several sizes, or in several forms, as paths."
    if array.ndim < 3:
        return "Reshape your data: X.reshape(-1, HEIGHT, WIDTH) for flattened pictures, X[None] for a single one."
    return "Channels come last." if array.dtype == np.uint8 else "Scale it to 0..255, then X.astype(np.uint8)."


def _paths(array: NDArray[Any]) -> tuple[Path, ...] | None:
    column = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if column.ndim != 1 or column.dtype.kind not in "OUT":
        return None
    return tuple(map(Path, column)) if all(isinstance(value, str | os.PathLike) for value in column) else None
