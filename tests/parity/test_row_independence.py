"""A row depends on its image alone: to the last bit, whatever is computed beside it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data.dataset import ImageDataset, Splits
from tests.features.passes import Interrupter, as_files, everything, first, keep, make_forward

FREEZES = ["conv1", "conv5", "fc7"]


def rows_of(images: ImageDataset, cache: Path, freeze: str = "conv3") -> torch.Tensor:
    return everything(keep(images, cache, make_forward(freeze))[0][0])


@pytest.mark.parametrize("freeze", FREEZES)
def test_a_row_does_not_depend_on_its_neighbors(fashion: Splits, tmp_path: Path, freeze: str) -> None:
    together = rows_of(first(fashion, 150), tmp_path / "together", freeze)
    for start, count in ((0, 1), (5, 3), (63, 2), (100, 50), (3, 147)):
        apart = rows_of(first(fashion, count, start), tmp_path / f"{start}", freeze)
        assert torch.equal(apart, together[start : start + count])


@pytest.mark.parametrize("freeze", FREEZES)
def test_a_row_does_not_depend_on_the_order(fashion: Splits, tmp_path: Path, freeze: str) -> None:
    images = first(fashion, 150)
    order = np.random.default_rng(1).permutation(150)
    straight = rows_of(images, tmp_path / "straight", freeze)
    shuffled = rows_of(images.subset(order), tmp_path / "shuffled", freeze)
    assert torch.equal(shuffled, straight[order])


def test_a_row_does_not_depend_on_the_split_it_stands_in(fashion: Splits, tmp_path: Path) -> None:
    forward = make_forward("conv3")
    straight = rows_of(first(fashion, 150), tmp_path / "one")
    parts = [first(fashion, 70), first(fashion, 10, 70), first(fashion, 70, 80)]
    kept, _, computed = keep(parts, tmp_path / "three", forward)
    assert computed == 150
    assert torch.equal(torch.cat([everything(part) for part in kept]), straight)


def test_a_resumed_pass_leaves_the_same_rows(fashion: Splits, tmp_path: Path) -> None:
    images, forward = first(fashion, 300), make_forward("conv3")
    with pytest.raises(KeyboardInterrupt):
        keep(images.subset(np.arange(7, 300)), tmp_path / "resumed", forward, progress=Interrupter(after=100))
    kept, _, computed = keep(images, tmp_path / "resumed", forward)
    assert 0 < computed < 300
    assert torch.equal(everything(kept[0]), rows_of(images, tmp_path / "straight"))


def test_a_gray_file_is_not_changed_by_colored_ones_beside_it(fashion: Splits, tmp_path: Path) -> None:
    gray = as_files(first(fashion, 20), tmp_path / "gray")
    pixels = np.asarray(first(fashion, 60, 20).images).reshape(20, 3, 28, 28).transpose(0, 2, 3, 1)
    colored = as_files(ImageDataset(pixels, gray.labels, gray.class_names), tmp_path / "colored")
    mixed = ImageDataset(
        tuple(path for pair in zip(colored.images, gray.images, strict=True) for path in pair),
        np.repeat(gray.labels, 2),
        gray.class_names,
    )
    together = rows_of(mixed, tmp_path / "together")
    gray_alone, colored_alone = rows_of(gray, tmp_path / "1"), rows_of(colored, tmp_path / "2")
    assert torch.equal(gray_alone, together[1::2])
    assert torch.equal(colored_alone, together[::2])


def test_a_file_of_another_size_beside_it_changes_nothing(fashion: Splits, tmp_path: Path) -> None:
    small = as_files(first(fashion, 10), tmp_path / "small")
    large = np.kron(np.asarray(first(fashion, 10, 10).images), np.ones((1, 4, 5), np.uint8))
    big = as_files(ImageDataset(large, small.labels, small.class_names), tmp_path / "large")
    both = ImageDataset((*big.images, *small.images), np.tile(small.labels, 2), small.class_names)
    assert torch.equal(rows_of(small, tmp_path / "alone"), rows_of(both, tmp_path / "together")[10:])
