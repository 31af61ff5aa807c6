"""Names of classes and splits."""

import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frostline.data.names import class_name, natural_key, natural_order, normalize_class_names, split_of, unprintable


def test_numbers_in_names_count_by_their_value() -> None:
    assert natural_order(str(number) for number in range(12, 0, -1)) == [str(number) for number in range(1, 13)]
    assert natural_order(["a10b", "a2b", "a2", "a1 9", "a1 10"]) == ["a1 9", "a1 10", "a2", "a2b", "a10b"]


def test_letters_count_regardless_of_case_and_ties_are_settled() -> None:
    assert natural_order(["zebra", "Ant", "ant", "Bee", "01", "1"]) == ["01", "1", "Ant", "ant", "Bee", "zebra"]


def test_a_number_of_thousands_of_digits_is_no_trouble() -> None:
    assert natural_order(["9" * 5000, "1" + "0" * 5000, "5"]) == ["5", "9" * 5000, "1" + "0" * 5000]


@given(st.lists(st.text()))
def test_natural_order_is_one_order_whatever_the_input_is(names: list[str]) -> None:
    ordered = natural_order(names)
    assert ordered == natural_order(reversed(names))
    assert set(ordered) == set(names)
    assert len(ordered) == len(set(names))


@given(st.lists(st.integers(0, 10**6), unique=True), st.text(alphabet="abZé -_", max_size=4))
def test_numbered_names_come_in_the_order_of_their_numbers(numbers: list[int], prefix: str) -> None:
    assert natural_order(f"{prefix}{number}" for number in numbers) == [f"{prefix}{n}" for n in sorted(numbers)]


@given(st.text(), st.text())
def test_only_the_same_name_has_the_same_key(one: str, other: str) -> None:
    assert (natural_key(one) == natural_key(other)) == (one == other)


@given(st.text(min_size=1))
def test_both_normal_forms_of_a_name_are_one_class(name: str) -> None:
    forms = {class_name(unicodedata.normalize(form, name)) for form in ("NFC", "NFD")}
    assert len(forms) == 1
    assert class_name(forms.copy().pop()) in forms


def test_what_is_joined_or_left_apart_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    names = ["cafe\u0301", "caf\u00e9", "dog ", "dog", "Dog"]
    with caplog.at_level(logging.WARNING, "frostline"):
        assert normalize_class_names(names, "here") == ["caf\u00e9", "caf\u00e9", "dog", "dog", "Dog"]
    assert caplog.messages == [
        "here: spellings of a class name that look the same are merged: "
        "caf\u00e9 ('cafe\\u0301', 'caf\\xe9'), dog ('dog', 'dog ')",
        "here: class names that differ only in case are separate classes: 'Dog' and 'dog'",
    ]


def test_names_that_cannot_be_printed_are_found() -> None:
    assert unprintable(["cat", "", " ", "a\x1b[31m", "\udce9", "\u732b"]) == ["", " ", "a\x1b[31m", "\udce9"]


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
