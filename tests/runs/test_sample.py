"""The validation images that a run keeps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from frostline._utils.manifest import read_manifest
from frostline.data.dataset import ImageDataset
from frostline.data.decoding.target import Target
from frostline.data.preprocess import Preprocess
from frostline.data.registry import load_dataset
from frostline.errors import RunError
from frostline.pipeline.resolve import split
from frostline.runs import sample
from frostline.runs.fit import fit
from frostline.runs.folder import Run
from frostline.runs.sample import read_sample, write_sample
from tests.small_run import small_config


@pytest.fixture
def photographs(tmp_path: Path) -> ImageDataset:
    """Twelve long images of two classes, gray and in color."""
    draw, files = np.random.default_rng(0), []
    for number in range(12):
        shape = (150 + number, 400) if number % 2 else (300, 100 + number, 3)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(files[-1])
    return ImageDataset(tuple(files), np.arange(12) // 8, ("a", "b"))


def test_run_keeps_images_of_its_validation_split(finished: Run) -> None:
    found = read_sample(finished)
    val = split(load_dataset("fashion-mnist", finished.config.data_dir), finished.config).val
    every = {(image.tobytes(), int(label)) for image, label in zip(val.images, val.labels, strict=True)}
    assert len(found) == len(val) < sample.IMAGES
    assert {(image.tobytes(), int(label)) for image, label in zip(found.images, found.labels, strict=True)} == every
    assert finished.sample.name in read_manifest(finished.folder).files


def test_setting_leaves_it_out(small_fashion: Path, tmp_path: Path) -> None:
    config = small_config(small_fashion, epochs=1, sample="none")
    run = fit(config, name="x", output_dir=tmp_path / "runs", cache_dir=tmp_path / "cache", verbose=0)
    assert run.finished and not run.has(run.sample.name)


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_images_stay_whole_and_become_the_same_input(photographs: ImageDataset, fit: str, tmp_path: Path) -> None:
    write_sample(tmp_path / "sample.safetensors", photographs, Target(64, fit))
    found = read_sample(Run(tmp_path))
    assert len(found) == 12
    assert {image.ndim for image in found.images} == {2, 3}
    assert all(64 <= max(image.shape[:2]) < 128 for image in found.images)
    if fit == "pad":
        preprocess = Preprocess(64, fit=fit)
        kept = {preprocess(found.pixels(np.array([n]))).numpy().tobytes() for n in range(12)}
        read = {preprocess(photographs.pixels(np.array([n]))).numpy().tobytes() for n in range(12)}
        assert kept == read


def test_no_more_images_than_fit_and_as_many_of_each_class(
    photographs: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "PIXEL_BYTES", 40_000)
    write_sample(tmp_path / "sample.safetensors", photographs, Target(64, "pad"))
    found = read_sample(Run(tmp_path))
    assert sum(image.size for image in found.images) <= 40_000
    assert 4 <= len(found) < 12
    assert abs(np.diff(np.bincount(found.labels)[:2])[0]) <= 1
    monkeypatch.setattr(sample, "PIXEL_BYTES", 1)
    write_sample(tmp_path / "sample.safetensors", photographs, Target(64, "pad"))
    assert len(read_sample(Run(tmp_path))) == 1


def test_large_arrays_are_halved(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 300, 200, 3), dtype=np.uint8)
    write_sample(tmp_path / "sample.safetensors", ImageDataset(images, np.arange(6) % 2, ("a", "b")), Target(64))
    assert {image.shape for image in read_sample(Run(tmp_path)).images} == {(75, 50, 3)}


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("pixels", torch.zeros(5, dtype=torch.uint8), "shapes does not agree with pixels"),
        ("pixels", torch.zeros(5), "pixels is not a row of bytes"),
        ("shapes", torch.full((6, 3), 2**40), "impossible sizes"),
        ("shapes", torch.full((6, 3), -1), "impossible sizes"),
        ("shapes", torch.ones(6, 2, dtype=torch.int64), "three integers per image"),
        ("labels", torch.full((6,), -1), "class numbers"),
        ("labels", torch.zeros(0, dtype=torch.int64), "class numbers"),
    ],
)
def test_contents_that_disagree_are_refused(tmp_path: Path, name: str, value: torch.Tensor, fault: str) -> None:
    path = tmp_path / "sample.safetensors"
    images = np.zeros((6, 20, 20), np.uint8)
    write_sample(path, ImageDataset(images, np.arange(6) % 2, ("a", "b")), Target(64))
    save_file(load_file(path) | {name: value}, path)
    with pytest.raises(RunError, match=rf"sample\.safetensors is damaged \(.*{fault}"):
        read_sample(Run(tmp_path))
