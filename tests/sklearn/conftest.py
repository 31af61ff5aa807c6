"""Real garments of three classes as images X and labels y."""

import numpy as np
import pytest

from frostline.data.dataset import Splits
from tests.class_folders import CLASSES, garments

Labelled = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def labeled(fashion: Splits) -> Labelled:
    """X (60, 28, 28) and y (60,), names."""
    images = [garments(fashion.train, number, 20) for number in CLASSES.values()]
    return np.concatenate(images), np.repeat(list(CLASSES), 20)


@pytest.fixture(scope="session")
def unseen(fashion: Splits) -> Labelled:
    """Test data: X (30, 28, 28) and y (30,)."""
    images = [garments(fashion.test, number, 10) for number in CLASSES.values()]
    return np.concatenate(images), np.repeat(list(CLASSES), 10)
