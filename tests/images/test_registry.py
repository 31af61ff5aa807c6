"""Data sets by name."""

from pathlib import Path

import numpy as np
import pytest

from frostline.errors import UnknownNameError
from frostline.images.registry import SOURCES, find_source, load_dataset


@pytest.mark.parametrize("name", ["fashion-minst", "fashion_mnist", "Fashion-MNIST", "fashion"])
def test_misspelt_name_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError) as refused:
        load_dataset(name)
    assert str(refused.value) == (
        f"unknown data set '{name}': expected one of fashion-mnist, drawn-objects. Did you mean 'fashion-mnist'?"
    )


def test_name_far_from_all_gets_no_guess() -> None:
    with pytest.raises(UnknownNameError, match=r"expected one of fashion-mnist, drawn-objects\.$"):
        find_source("zzz")


def test_data_set_is_loaded_from_an_explicit_folder(small_fashion: Path) -> None:
    splits = load_dataset("fashion-mnist", str(small_fashion))
    assert (splits.name, splits.source) == ("fashion-mnist", str(small_fashion))
    np.testing.assert_array_equal(splits.test.images, load_dataset("fashion-mnist", small_fashion).test.images)


def test_every_source_says_what_it_is_and_where() -> None:
    assert list(SOURCES) == ["fashion-mnist", "drawn-objects"]
    source = SOURCES["fashion-mnist"]
    assert "60,000 + 10,000" in source.description
    assert load_dataset("fashion-mnist").source == source.where(None)
    assert SOURCES["drawn-objects"].where(None) == "drawn when it is needed: no file"
