"""The usual names of splits are known, and names of classes are left alone."""

import pytest

from frostline.data.names import split_of

USUAL = {
    "train": ["train", "Train", "TRAINING", "train_set", "training_set", "Training-Set", "trainset", "train-set",
              "training set", "train_data", "images_train", "train_images", "train2017", "TrainSet", "data_train"],
    "val": ["val", "valid", "validation", "dev", "Val_Set", "validation_set", "devset", "val2017", "valid_images"],
    "test": ["test", "Testing", "test_set", "eval", "evaluation", "holdout", "hold-out", "test_images", "held_out"],
}  # fmt: skip


@pytest.mark.parametrize(("split", "name"), [(split, name) for split, names in USUAL.items() for name in names])
def test_usual_names_are_known_in_any_case(split: str, name: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name", ["", "cat", "trains", "strain", "training_wheel", "tester", "device", "validator", "set", "images", "2017",
             "test tube", "trainee", "dev_board"]
)  # fmt: skip
def test_other_names_are_no_splits(name: str) -> None:
    assert split_of(name) is None
