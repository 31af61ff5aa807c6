"""Validation of X."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.errors import InputError
from frostline.sklearn.images import as_pixels_or_paths, readable_images

GRAY = np.zeros((2, 4, 5), np.uint8)


@pytest.mark.parametrize("X", [GRAY, list(GRAY), GRAY[..., None]], ids=["array", "list", "one channel"])
def test_gray_images(X: Any) -> None:
    assert np.shape(as_pixels_or_paths(X)) == (2, 4, 5)


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
    assert as_pixels_or_paths(X) == (Path("a.png"), Path("b.png"))


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (GRAY.reshape(2, -1), r"got uint8 \(2, 20\). Reshape your data"),
        (GRAY[0, 0], r"got uint8 \(5,\). Reshape your data"),
        (GRAY / 255, r"got float64 \(2, 4, 5\). Scale it to 0..255"),
        (np.zeros((2, 3, 4, 4), np.uint8), "Channels come last"),
        (np.array([GRAY[0], "a.png"], dtype=object), "Give images of different sizes, or in different forms, as paths"),
        ([GRAY[0], GRAY[0, 1:]], "images of different sizes are no array"),
        (GRAY[:0], r"found 0 sample\(s\)"),
        (GRAY[:, :0], r"found 0 feature\(s\)"),
    ],
)
def test_anything_else_is_refused_with_advice(X: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_pixels_or_paths(X)


def test_unreadable_files_are_left_out_with_a_warning(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    Image.fromarray(GRAY[0]).resize((70, 30)).save(tmp_path / "wide.png")
    dataset, kept = readable_images((tmp_path / ".DS_Store", tmp_path / "wide.png"), cache)
    assert (dataset.images, dataset.side, kept.tolist()) == ((tmp_path / "wide.png",), 70, [1])
    reason = f"{tmp_path / '.DS_Store'} is not a readable image"
    assert f"1 of 2 files cannot be read and are left out; {reason}" in caplog.text
    with pytest.raises(InputError, match=r"none of 1 files is a readable image; .*DS_Store"):
        readable_images((tmp_path / ".DS_Store",), cache)


def test_arrays_are_used_unchanged(cache: Path) -> None:
    dataset, kept = readable_images(GRAY, cache)
    assert (dataset.side, kept.tolist()) == (5, [0, 1])
