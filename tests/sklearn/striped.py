"""Subclasses for scikit-learn's estimator checks, which pass tables instead of images.

Each row of numbers becomes an image of vertical stripes, one stripe per number. All other input of a check (strings,
NaN, complex numbers, one dimension, …) reaches the estimator unchanged.
"""

from typing import Any

import numpy as np
from sklearn.utils import Tags

from frostline.sklearn import FeatureExtractor, TransferClassifier

NUMBERS = "biuf"


class _Tables:
    """Accepts tables; images are square, or lines of pixels with as many values as the row."""

    square = True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.one_d_array, tags.input_tags.two_d_array = False, True  # otherwise no check passes a table
        return tags

    def striped(self, X: Any) -> Any:
        """Return a table of finite numbers as gray images (N, F, F) or (N, 1, F); anything else unchanged."""
        try:
            table = np.asarray(X)
        except (ValueError, TypeError):
            return X
        if table.ndim != 2 or table.dtype.kind not in NUMBERS or not table.size or not np.isfinite(table).all():
            return X
        pixels = np.clip(128 + 40 * table.astype(float), 0, 255).astype(np.uint8)
        return np.repeat(pixels[:, None, :], table.shape[1] if self.square else 1, axis=1)


class StripedClassifier(_Tables, TransferClassifier):
    def fit(self, X: Any, y: Any) -> "StripedClassifier":
        super().fit(self.striped(X), y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        return super().predict_proba(self.striped(X))


class StripedTransformer(_Tables, FeatureExtractor):
    def fit(self, X: Any, y: Any = None) -> "StripedTransformer":
        super().fit(self.striped(X), y)
        return self

    def transform(self, X: Any) -> np.ndarray:
        return super().transform(self.striped(X))


class LineClassifier(StripedClassifier):
    square = False


class LineTransformer(StripedTransformer):
    square = False
