"""An audited data set with known faults: real garments, wrong labels, copies and an image of noise."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.data.dataset import Splits
from frostline.studies.audit.audit import Audit, audit

NAMES = ("T-shirt, white", "Trouser", "Pullover", "Dress", "Coat", "<b>Sandal</b>", "Shirt", "Sneaker", "Bag", "Boot")
FLIPPED = np.arange(20, 32)  # training images with a wrong label
FLIPPED_TEST = 5
NOISE = 400
SAME_AS_7, SAME_AS_TEST_3 = 401, 402


@dataclass(frozen=True)
class Planted:
    """A data set with faults, and the result of its audit."""

    splits: Splits
    config: TrainConfig
    cache: Path
    folder: Path
    found: Audit


def with_faults(fashion: Splits) -> Splits:
    """400 garments and three more images to train on, 80 to test."""
    images, labels = np.asarray(fashion.train.images[:400]), fashion.train.labels[:400].copy()
    labels[FLIPPED] = (labels[FLIPPED] + 5) % 10
    noise = np.random.default_rng(0).integers(0, 255, (28, 28), dtype=np.uint8)
    test, test_labels = np.asarray(fashion.test.images[:80]), fashion.test.labels[:80].copy()
    test_labels[FLIPPED_TEST] = (test_labels[FLIPPED_TEST] + 5) % 10
    more = [noise, images[7], test[3]]
    return from_arrays(
        np.concatenate([images, more]),
        np.concatenate([labels, [0, (labels[7] + 1) % 10, test_labels[3]]]),
        NAMES,
        test=(test, test_labels),
        name="<i>faulty</i>",
    )


@pytest.fixture(scope="session")
def planted(fashion: Splits, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The data set, audited with a small network; every label that the heads disagree with is listed."""
    place = tmp_path_factory.mktemp("planted")
    splits, config = with_faults(fashion), TrainConfig(data="faulty", weights="bundled", image_size=64)
    found = audit(config, place / "audit", cache_dir=place / "cache", splits=splits, fdr=1)
    return Planted(splits, config, place / "cache", place / "audit", found)
