"""The plots of a run."""

import numpy as np
import pytest
from PIL import Image

from frostline.runs.artifacts import draw_confusion, draw_curves
from frostline.training.checkpoint import Epoch


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def colored(array):
    """How many pixels are neither gray nor white."""
    return int((array.max(2) - array.min(2) > 40).sum())


@pytest.mark.parametrize("name", ["curves.png", "confusion.png"])
def test_a_run_leaves_images_that_are_not_blank(finished, name):
    array = pixels(finished.folder / name)
    assert array.shape[0] > 400
    assert array.shape[1] > 600
    assert array.std() > 10
    assert colored(array) > 500


@pytest.mark.parametrize("epochs", [1, 2, 40])
def test_curves_of_any_length(tmp_path, epochs):
    history = [Epoch(e, "conv5", 2 / e, 1 - 0.5 / e, 2.1 / e, 1 - 0.6 / e, 1e-3, 1.0) for e in range(1, epochs + 1)]
    draw_curves(history, epochs, tmp_path / "curves.png")
    assert colored(pixels(tmp_path / "curves.png")) > 200


def test_curves_show_the_numbers(tmp_path):
    falling = [Epoch(e, "conv5", 2 / e, 0.5, 2 / e, 0.5, 1e-3, 1.0) for e in (1, 2, 3)]
    rising = [Epoch(e, "conv5", 2.0 * e, 0.5, 2.0 * e, 0.5, 1e-3, 1.0) for e in (1, 2, 3)]
    for name, history in (("falling", falling), ("rising", rising)):
        draw_curves(history, 1, tmp_path / f"{name}.png")
    assert (pixels(tmp_path / "falling.png") != pixels(tmp_path / "rising.png")).any()


def test_a_confusion_matrix_is_darkest_where_its_shares_are(tmp_path):
    draw_confusion([[40, 0], [0, 40]], ["left", "right"], "two", tmp_path / "right.png")
    draw_confusion([[0, 40], [40, 0]], ["left", "right"], "two", tmp_path / "wrong.png")
    right, wrong = (pixels(tmp_path / f"{name}.png") for name in ("right", "wrong"))
    assert right.shape == wrong.shape
    dark_right, dark_wrong = ((array[..., 2] - array[..., 0] > 80) for array in (right, wrong))
    assert dark_right.sum() > 5000
    assert not (dark_right & dark_wrong).sum() > 0.1 * dark_right.sum()


@pytest.mark.parametrize("classes", [2, 10, 31])
def test_a_confusion_matrix_of_many_classes_grows(tmp_path, classes):
    draw_confusion(np.eye(classes, dtype=int).tolist(), [f"c{i}" for i in range(classes)], "t", tmp_path / "c.png")
    assert min(pixels(tmp_path / "c.png").shape[:2]) >= 130 * max(4.4, 0.55 * classes + 1.8) - 2


def test_hundreds_of_classes_and_any_name_are_drawn(tmp_path):
    names = [f"$_{{{i}$ {i}" for i in range(300)]
    draw_confusion(np.eye(300, dtype=int).tolist(), names, "$_{$", tmp_path / "c.png")
    assert max(pixels(tmp_path / "c.png").shape) < 5000


def test_a_class_without_images_is_drawn(tmp_path):
    draw_confusion([[0, 0], [1, 3]], ["none", "some"], "t", tmp_path / "c.png")
    assert colored(pixels(tmp_path / "c.png")) > 500
