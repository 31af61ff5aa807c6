"""Image files in a folder for each class: never over what is there, and as often as one likes."""

from pathlib import Path

import pytest

from frostline.errors import ConfigError, DataError, StorageError
from frostline.inference.sort_into import ClassFolders, check_target, folder_names


def write(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def contents(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


def test_files_of_one_name_get_numbers_and_nothing_is_overwritten(tmp_path):
    mine = write(tmp_path / "out" / "cat" / "a.png", "mine")
    folders = ClassFolders(tmp_path / "out", ["cat", "dog"])
    one, two = write(tmp_path / "x" / "a.png", "one"), write(tmp_path / "y" / "a.png", "two")
    assert folders.place(one, 0) == tmp_path / "out" / "cat" / "a-2.png"
    assert folders.place(two, 0) == tmp_path / "out" / "cat" / "a-3.png"
    assert folders.place(two, 1) == tmp_path / "out" / "dog" / "a.png"
    assert mine.read_text() == "mine"
    assert contents(tmp_path / "out") == {
        "cat/a.png": "mine",
        "cat/a-2.png": "one",
        "cat/a-3.png": "two",
        "dog/a.png": "two",
    }
    assert folders.summary == "cat 2, dog 1"


@pytest.mark.parametrize("link", [None, "hard", "symbolic"])
def test_sorting_again_changes_nothing(tmp_path, link):
    files = [write(tmp_path / name / "a.png", name) for name in ("x", "y")]
    for _ in range(2):
        folders = ClassFolders(tmp_path / "out", ["cat"], link=link)
        for file in files:
            folders.place(file, 0)
        assert contents(tmp_path / "out") == {"cat/a.png": "x", "cat/a-2.png": "y"}
    assert (folders.placed.total(), folders.there) == (0, 2)
    target = tmp_path / "out" / "cat" / "a.png"
    assert target.is_symlink() == (link == "symbolic")
    assert (target.stat().st_nlink == 2) == (link == "hard")


def test_what_is_not_known_has_its_own_folder_also_beside_a_class_of_that_name(tmp_path):
    file = write(tmp_path / "a.png", "a")
    folders = ClassFolders(tmp_path / "out", ["cat", "Unknown"], rejected=True)
    assert folders.place(file, None) == tmp_path / "out" / "unknown" / "a.png"
    assert folders.place(file, 1) == tmp_path / "out" / "Unknown-2" / "a.png"


def test_folder_names_are_safe_and_distinct():
    plain = ["../up", "a/b", "a\\b", "..", ".hidden", "con", "NUL.txt", "Cat", "cat"]
    names = [*plain, "", "x" * 300, "e\u0301", "é", "bell\x07", "a:b?", "trailing. "]
    found = folder_names(names)
    assert found[:9] == ["_._up", "a_b", "a_b-2", "_", "_hidden", "con_", "NUL.txt_", "Cat", "cat-2"]
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert name and not name.startswith(".") and "/" not in name and name.isprintable()
        assert len(name.encode()) <= 255 and not name.endswith((".", " "))


def test_a_target_among_the_searched_folders_is_refused(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for target in ("in", "in/out", "in/deep", "link/out"):
        with pytest.raises(ConfigError, match="is searched for images"):
            check_target(tmp_path / target, [tmp_path / "in"])
    check_target(tmp_path / "out", [tmp_path / "in", tmp_path / "nowhere"])
    check_target(tmp_path / "in-out", [tmp_path / "in"])


def test_a_file_that_is_gone_is_named_and_leaves_nothing(tmp_path):
    folders = ClassFolders(tmp_path / "out", ["cat"])
    with pytest.raises(DataError, match=r"gone\.png cannot be copied: No such file"):
        folders.place(tmp_path / "gone.png", 0)
    assert contents(tmp_path / "out") == {}


def test_a_file_in_place_of_the_folder_is_an_error_of_storage(tmp_path):
    write(tmp_path / "out", "a file")
    with pytest.raises(StorageError, match=r"cannot use .*out.*--sort-into chooses another place"):
        ClassFolders(tmp_path / "out", ["cat"]).place(write(tmp_path / "a.png", "a"), 0)
