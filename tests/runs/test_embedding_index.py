"""The small map of activations: near images are alike, samples are even, and it stays small."""

from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.data import fashion_mnist
from frostline.errors import RunError
from frostline.inference.classifier import Classifier
from frostline.runs.embedding_index import read_index, stratified
from frostline.runs.folder import Run


def test_a_training_image_is_nearest_to_itself(finished: Run, small_fashion: Path) -> None:
    index = read_index(finished.index)
    assert finished.index.stat().st_size < 10_000_000
    images = np.asarray(fashion_mnist.load(small_fashion).train.images)
    png = index.images.encoded[5]
    (position,) = [n for n, image in enumerate(images) if _encoded(image) == png]
    classifier = Classifier.load(finished.folder)
    rows = classifier.network.forward(classifier.model.preprocess.resize(images[[position]]))
    members, similarity = index.nearest(classifier.network.after[0][0](rows), 4)
    assert members.shape == (1, 4) and members[0, 0] == 5
    assert similarity[0, 0] > 0.999 and (np.diff(similarity[0]) <= 0).all()


def _encoded(image: np.ndarray) -> bytes:
    from frostline.data.encoding import encode

    return encode(image)


def test_neighbors_share_the_class_more_often_than_chance(finished: Run) -> None:
    index = read_index(finished.index)
    unit = torch.nn.functional.normalize(index.train_points)
    cosines = (unit @ unit.T).fill_diagonal_(-1)
    same = index.train_labels[cosines.argmax(1).numpy()] == index.train_labels
    assert same.mean() > 0.4  # chance is 0.1


def test_the_sample_is_even_and_a_function_of_the_seed() -> None:
    labels = np.repeat([0, 1, 2], [1000, 30, 5])
    sample = stratified(labels, 60, seed=1)
    assert np.bincount(labels[sample]).tolist() == [28, 27, 5]
    assert np.array_equal(sample, stratified(labels, 60, seed=1))
    assert not np.array_equal(sample, stratified(labels, 60, seed=2))
    assert np.array_equal(stratified(labels, 9999, seed=1), np.arange(1035))


def test_missing_and_damaged_are_said(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="run it again"):
        read_index(tmp_path / "index.safetensors")
    (tmp_path / "index.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match="is damaged"):
        read_index(tmp_path / "index.safetensors")
