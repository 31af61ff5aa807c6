"""What Python and a notebook show of runs, models, networks and data sets."""

import numpy as np
import pytest

from frostline.config import TrainConfig
from frostline.data.arrays import from_arrays
from frostline.data.registry import load_dataset
from frostline.inference.classifier import Classifier
from frostline.models.registry import load_backbone
from frostline.runs.folder import Run
from frostline.runs.writer import open_run

SPLIT = {"images": 1, "fingerprint": "0"}


def test_a_finished_run_says_what_came_out(finished):
    accuracy = f"test accuracy {finished.metrics['test']['accuracy']:.4f}"
    assert repr(finished) == f"Run('{finished.folder}', finished, fashion-mnist, alexnet, {accuracy})"
    assert f">{accuracy}</td>" in finished._repr_html_()
    assert ">Run first</caption>" in finished._repr_html_()


def test_an_unfinished_a_damaged_and_no_run_say_so(tmp_path):
    with open_run(tmp_path, "begun", overwrite=False, resume=False) as run:
        run.begin(TrainConfig(data="fashion-mnist", model="alexnet"), {"train": SPLIT, "val": SPLIT, "test": SPLIT})
    folder = tmp_path / "begun"
    assert repr(Run(folder)) == f"Run('{folder}', unfinished, fashion-mnist, alexnet)"
    (folder / "config.toml").write_text("changed = 1")
    assert repr(Run(folder)) == f"Run('{folder}', unfinished)"
    (folder / "manifest.json").write_text("{")
    assert repr(Run(folder)) == f"Run('{folder}', damaged)"
    assert repr(Run(tmp_path / "none")) == f"Run('{tmp_path / 'none'}', none)"


def test_a_classifier_names_its_network_and_classes(finished):
    classifier = Classifier.load(finished.folder)
    names = "T-shirt/top, Trouser, Pullover, Dress, Coat, …"
    assert repr(classifier) == f"Classifier(alexnet at 64 px, 10 classes: {names})"
    table = classifier._repr_html_()
    assert f">10: {names}</td>" in table
    assert ">conv5</td>" in table


def test_a_network_names_its_stages_and_weights():
    backbone = load_backbone(weights="random", last="conv2")
    assert repr(backbone) == "Backbone(alexnet, 2 stages: conv1, conv2, 330,688 parameters, random weights)"
    assert ">330,688 parameters</td>" in backbone._repr_html_()
    assert repr(backbone.outline()) == repr(backbone)


def test_splits_count_their_images(small_fashion):
    splits = load_dataset("fashion-mnist", small_fashion)
    train, test = len(splits.train), len(splits.test)
    names = "T-shirt/top, Trouser, Pullover, Dress, Coat, …"
    expected = f"Splits(fashion-mnist, {train:,} train images, {test:,} test images, 10 classes: {names})"
    assert repr(splits) == expected
    assert f">{train:,} train images</td>" in splits._repr_html_()


def test_printed_splits_are_five_lines(small_fashion):
    splits = load_dataset("fashion-mnist", small_fashion)
    assert str(splits).splitlines() == [
        f"data set  fashion-mnist from {splits.source}",
        "classes   10: T-shirt/top, Trouser, Pullover, Dress, Coat, …",
        "train     1,200 images",
        "val       drawn from train by each run",
        "test      300 images",
    ]


@pytest.fixture
def hostile():
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    return from_arrays(images, np.repeat([0, 1], 20), ["<script>x</script>", "b"], name="<b>\x1b[31m")


def test_names_that_others_wrote_do_nothing(hostile):
    assert repr(hostile).startswith("Splits(<b>\\x1b[31m, ")
    assert len(str(hostile).splitlines()) == 5 and "\x1b" not in str(hostile)
    table = hostile._repr_html_()
    assert "<script>" not in table and "<b>" not in table and "\x1b" not in table
    assert "&lt;script&gt;x&lt;/script&gt;" in table
