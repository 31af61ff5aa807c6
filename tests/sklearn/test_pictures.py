"""What may be X, and what is said of anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.errors import InputError
from frostline.sklearn.pictures import longest_side, pictures_of
from tests.class_folders import garments

GREY = np.zeros((2, 4, 5), np.uint8)


@pytest.mark.parametrize("X", [GREY, list(GREY), GREY[..., None]], ids=["array", "list", "one channel"])
def test_grey_pictures(X: Any) -> None:
    assert np.shape(pictures_of(X)) == (2, 4, 5)


@pytest.mark.parametrize(
    "X",
    [
        ["a.png", "b.png"],
        np.array(["a.png", "b.png"]),
        [Path("a.png"), Path("b.png")],
        np.array([["a.png"], ["b.png"]]),
    ],
    ids=["texts", "array", "paths", "column"],
)
def test_paths(X: Any) -> None:
    assert pictures_of(X) == (Path("a.png"), Path("b.png"))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (GREY.reshape(2, -1), r"got uint8 \(2, 20\). Reshape your data"),
        (GREY[0, 0], r"got uint8 \(5,\). Reshape your data"),
        (GREY / 255, r"got float64 \(2, 4, 5\). Scale it to 0..255"),
        (np.zeros((2, 3, 4, 4), np.uint8), "Channels come last"),
        (np.array([GREY[0], "a.png"], dtype=object), "Give pictures of several sizes, or in several forms, as paths"),
        ([GREY[0], GREY[0, 1:]], "pictures of several sizes make no array"),
        (GREY[:0], r"found 0 sample\(s\)"),
        (GREY[:, :0], r"found 0 feature\(s\)"),
    ],
)
def test_anything_else_is_refused_with_advice(X: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        pictures_of(X)


def test_longest_side_of_files_and_of_arrays(fashion: Any, tmp_path: Path) -> None:
    Image.fromarray(garments(fashion.train, 8, 1)[0]).resize((70, 30)).save(tmp_path / "wide.png")
    assert longest_side((tmp_path / "wide.png",)) == 70
    assert longest_side(GREY) == 5
