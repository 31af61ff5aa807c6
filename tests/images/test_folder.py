"""Class folders as people have them: with and without splits, deep, untidy, or not class folders at all."""

import logging
from pathlib import Path

import pytest

from frostline.errors import DataError
from frostline.images.folder import list_folder


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def rows(root: Path) -> set[tuple[str, str, str | None]]:
    listing = list_folder(root)
    assert listing.source == str(root)
    relative = (str(path.relative_to(root)) for path in listing.paths)
    return set(zip(relative, listing.classes, listing.splits, strict=True))


def test_class_folders_are_searched_to_the_bottom(tmp_path: Path) -> None:
    made(tmp_path, "cat/1.png", "cat/of 2024/may/2.JPG", "red fox/3.jpeg")
    assert rows(tmp_path) == {
        ("cat/1.png", "cat", None),
        ("cat/of 2024/may/2.JPG", "cat", None),
        ("red fox/3.jpeg", "red fox", None),
    }


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_folders_of_splits_are_known(tmp_path: Path, val: str) -> None:
    made(tmp_path, "train/cat/1.png", f"{val}/cat/2.png", "test/dog/deep/3.png")
    assert rows(tmp_path) == {
        ("train/cat/1.png", "cat", "train"),
        (f"{val}/cat/2.png", "cat", "val"),
        ("test/dog/deep/3.png", "dog", "test"),
    }


def test_train_alone_is_a_split(tmp_path: Path) -> None:
    assert rows(made(tmp_path, "train/cat/1.png", "train/dog/1.png")) == {
        ("train/cat/1.png", "cat", "train"),
        ("train/dog/1.png", "dog", "train"),
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert rows(made(tmp_path, "train/1.png", "bus/1.png")) == {
        ("train/1.png", "train", None),
        ("bus/1.png", "bus", None),
    }


def test_splits_beside_classes_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "train/cat/1.png", "test/cat/2.png", "more/cat/3.png")
    with pytest.raises(DataError, match="holds folders of splits and others, such as more: expected only train"):
        list_folder(tmp_path)


def test_order_is_that_of_the_names(tmp_path: Path) -> None:
    made(tmp_path, "b/2.png", "a/9.png", "b/1.png", "a/10.png")
    assert [str(path.relative_to(tmp_path)) for path in list_folder(tmp_path).paths] == [
        "a/10.png", "a/9.png", "b/1.png", "b/2.png"
    ]  # fmt: skip


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "cat/1.png", "dog/1.png", "cat/1.psd", "cat/2.psd", "dog/notes", "loose.png", "readme.txt")
    made(tmp_path, ".git/x/1.png", "cat/.thumbs/1.png", "cat/._1.png", "empty/.keep")
    with caplog.at_level(logging.WARNING, "frostline"):
        assert {name for name, _, _ in rows(tmp_path)} == {"cat/1.png", "dog/1.png"}
    assert caplog.messages == [
        f"{tmp_path}: 4 files are left out: 2 .psd, 1 no ending, 1 beside the class folders",
        f"{tmp_path}: no pictures in empty: it is no class",
    ]


@pytest.mark.parametrize("names", [(), ("1.png", "2.png"), ("cat/notes.txt",)])
def test_a_folder_without_class_folders_says_what_is_expected(tmp_path: Path, names: tuple[str, ...]) -> None:
    made(tmp_path, *names)
    with pytest.raises(
        DataError, match=r"has no class folders with pictures: expected .*/CLASS/PICTURE or .*\.png"
    ) as no:
        list_folder(tmp_path)
    assert "\n" not in str(no.value)
