"""Class folders: with and without splits, nested, untidy, or invalid."""

import logging
import os
from pathlib import Path

import pytest

from frostline.data.folder import list_folder
from frostline.errors import DataError


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
    with pytest.raises(DataError, match="has split folders and others, such as more: expected only train"):
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
        f"{tmp_path}: 4 files are left out: 2 .psd, 1 no ending, 1 outside the class folders",
        f"{tmp_path}: no images in empty: not a class",
    ]


@pytest.mark.parametrize("names", [(), ("1.png", "2.png"), ("cat/notes.txt",)])
def test_a_folder_without_class_folders_says_what_is_expected(tmp_path: Path, names: tuple[str, ...]) -> None:
    made(tmp_path, *names)
    with pytest.raises(DataError, match=r"has no class folders with images: expected .*/CLASS/IMAGE or .*\.png") as no:
        list_folder(tmp_path)
    assert "\n" not in str(no.value)


def test_usual_names_of_splits_are_known(tmp_path: Path) -> None:
    made(tmp_path, "training_set/cat/1.png", "training_set/dog/1.png", "Test-Set/cat/2.png", "Test-Set/dog/2.png")
    assert {(name, split) for _, name, split in rows(tmp_path)} == {
        ("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")
    }  # fmt: skip


def test_train_and_dev_need_no_test(tmp_path: Path) -> None:
    made(tmp_path, "train/cat/1.png", "train/dog/1.png", "dev/cat/2.png")
    assert {(name, split) for _, name, split in rows(tmp_path)} == {("cat", "train"), ("dog", "train"), ("cat", "val")}


def test_two_folders_of_one_split_are_joined_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "train/cat/1.png", "train/dog/1.png", "val/cat/2.png", "dev/dog/2.png")
    with caplog.at_level(logging.WARNING, "frostline"):
        assert {split for _, _, split in rows(tmp_path)} == {"train", "val"}
    assert caplog.messages == [f"{tmp_path}: dev, val are merged into the val split"]


@pytest.mark.parametrize(
    "tops", [("part_a", "part_b"), ("fold1", "fold2", "fold3"), ("train", "secret"), ("A", "test")]
)
def test_folders_with_the_same_sub_folders_and_unknown_names_are_refused(tmp_path: Path, tops: tuple[str, ...]) -> None:
    made(tmp_path, *(f"{top}/{name}/1.png" for top in tops for name in ("cat", "dog")))
    with pytest.raises(DataError, match=r"have the same subfolders \(cat, dog\)\. If they are splits, name them train"):
        list_folder(tmp_path)


def test_test_folders_without_training_folder_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "val/cat/1.png", "val/dog/1.png", "test/cat/1.png", "test/dog/1.png")
    with pytest.raises(DataError, match="has test, val but no folder of training images: name it train"):
        list_folder(tmp_path)


def test_splits_without_class_folders_are_refused(tmp_path: Path) -> None:
    made(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(DataError, match="train has no class folders with images: expected train/CLASS/IMAGE"):
        list_folder(tmp_path)


def test_classes_that_share_some_sub_folders_are_kept_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made(tmp_path, "cat/day/1.png", "cat/night/1.png", "dog/day/1.png", "dog/night/1.png", "dog/dusk/1.png")
    with caplog.at_level(logging.WARNING, "frostline"):
        assert {name for _, name, _ in rows(tmp_path)} == {"cat", "dog"}
    assert caplog.messages == [f"{tmp_path}: read as classes: cat, dog; each of them has the subfolders day, night"]


def test_class_folders_some_levels_down_are_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(tmp_path, "archive/photos/cat/1.png", "archive/photos/dog/1.png", "archive/readme.txt")
    made(tmp_path, "__MACOSX/archive/photos/cat/._1.png", "__MACOSX/more/1.png", ".cache/x/1.png")
    with caplog.at_level(logging.INFO, "frostline"):
        assert rows(tmp_path) == {
            ("archive/photos/cat/1.png", "cat", None), ("archive/photos/dog/1.png", "dog", None)
        }  # fmt: skip
    assert caplog.messages == [f"{tmp_path}: the class folders are in {tmp_path}/archive/photos"]


def test_splits_some_levels_down_are_found(tmp_path: Path) -> None:
    made(tmp_path, "archive/training_set/training_set/cat/1.png", "archive/training_set/training_set/dog/1.png")
    made(tmp_path, "archive/test_set/test_set/cat/1.png", "archive/test_set/test_set/dog/1.png")
    assert {(name, split) for _, name, split in rows(tmp_path)} == {
        ("cat", "train"), ("dog", "train"), ("cat", "test"), ("dog", "test")
    }  # fmt: skip


def test_a_single_class_is_no_folder_to_go_down_into(tmp_path: Path) -> None:
    assert rows(made(tmp_path, "cat/1.png")) == {("cat/1.png", "cat", None)}
    assert rows(made(tmp_path / "deep", "cat/2024/1.png")) == {("cat/2024/1.png", "cat", None)}


def test_classes_come_in_natural_order(tmp_path: Path) -> None:
    made(tmp_path, *(f"{number}/1.png" for number in range(1, 13)))
    assert list_folder(tmp_path).classes == tuple(str(number) for number in range(1, 13))


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    made(tmp_path / "far", "cats/1.png", "more/2.png", "3.png")
    root = made(tmp_path / "root", "dog/1.png", "dog/own/2.png")
    (root / "cat").symlink_to(tmp_path / "far/cats")
    (root / "dog/linked").symlink_to("../../far/more", target_is_directory=True)
    (root / "dog/3.png").symlink_to(tmp_path / "far/3.png")
    assert rows(root) == {
        ("cat/1.png", "cat", None), ("dog/1.png", "dog", None), ("dog/own/2.png", "dog", None),
        ("dog/linked/2.png", "dog", None), ("dog/3.png", "dog", None),
    }  # fmt: skip
    assert list_folder(root).bad == ()


def test_loops_and_links_to_nothing_are_named(tmp_path: Path) -> None:
    made(tmp_path, "cat/deep/1.png", "dog/1.png")
    (tmp_path / "cat/deep/up").symlink_to("../..", target_is_directory=True)
    (tmp_path / "dog/itself").symlink_to("itself")
    (tmp_path / "bird").symlink_to(tmp_path / "gone")
    listing = list_folder(tmp_path)
    assert {(str(bad.path.relative_to(tmp_path)), bad.reason) for bad in listing.bad} == {
        ("cat/deep/up", "is a link to a folder that contains it"),
        ("dog/itself", "is a broken link, or in a loop of links"),
        ("bird", "is a broken link, or in a loop of links"),
    }
    assert len(listing.paths) == 2


def test_a_folder_that_several_links_lead_to_is_listed_once_in_each_class(tmp_path: Path) -> None:
    made(tmp_path, "cat/1.png", "dog/1.png")
    for level in range(20):  # 2 to the 20 ways through them
        folder = tmp_path / "cat" / f"level{level}"
        folder.mkdir()
        (folder / f"{level}.png").touch()
        for name in ("a", "b"):
            (folder / name).symlink_to(f"../level{level + 1}", target_is_directory=True)
    names = [path.name for path in list_folder(tmp_path).paths]
    assert sorted(names) == sorted([*(f"{level}.png" for level in range(20)), "1.png", "1.png"])


def test_folders_without_end_are_named(tmp_path: Path) -> None:
    made(tmp_path, "cat/1.png", "dog/" + "x/" * 70 + "1.png", "dog/1.png")
    (bad,) = list_folder(tmp_path).bad
    assert bad.reason == "is more than 64 folders deep"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    made(tmp_path, "cat/1.png", "dog/1.png", "bird/1.png")
    (tmp_path / "bird").chmod(0)
    try:
        (bad,) = list_folder(tmp_path).bad
    finally:
        (tmp_path / "bird").chmod(0o755)
    assert (bad.path, bad.reason) == (tmp_path / "bird", "cannot be opened: Permission denied")


def test_a_root_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="cannot be read: cannot be opened: Too many levels of symbolic links"):
        list_folder(tmp_path / "loop")


@pytest.mark.parametrize("ending", ["heic", "HEIF", "avif", "dcm"])
def test_images_of_kinds_without_a_reader_are_listed_for_a_look(tmp_path: Path, ending: str) -> None:
    assert (f"cat/1.{ending}", "cat", None) in rows(made(tmp_path, f"cat/1.{ending}", "dog/1.png"))
