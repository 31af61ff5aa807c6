"""Data sets by name, and by the path of a folder or file."""

from pathlib import Path

import numpy as np
import pytest

from frostline.data.dataset import Splits
from frostline.data.registry import SOURCES, check_data, data_name, from_folder, from_table, load_dataset
from frostline.errors import ConfigError, DataError, UnknownNameError
from frostline.runs.folder import check_name
from tests.class_folders import write_classes


@pytest.mark.parametrize("name", ["fashion-minst", "fashion_mnist", "Fashion-MNIST", "fashion"])
def test_misspelt_name_is_answered_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownNameError) as refused:
        load_dataset(name)
    assert str(refused.value) == (
        f"unknown data set '{name}': expected one of fashion-mnist, drawn-objects, or a folder or file (.csv, .tsv, "
        ".parquet, .npz) of yours, and no such file or folder exists. Did you mean 'fashion-mnist'?"
    )


def test_name_far_from_all_gets_no_guess() -> None:
    with pytest.raises(UnknownNameError, match=r"no such file or folder exists\.$"):
        check_data("zzz")


def test_data_set_is_loaded_from_an_explicit_folder(small_fashion: Path) -> None:
    splits = load_dataset("fashion-mnist", str(small_fashion))
    assert (splits.name, splits.source) == ("fashion-mnist", str(small_fashion))
    np.testing.assert_array_equal(splits.test.images, load_dataset("fashion-mnist", small_fashion).test.images)


def test_every_source_says_what_it_is_and_where() -> None:
    assert list(SOURCES) == ["fashion-mnist", "drawn-objects"]
    source = SOURCES["fashion-mnist"]
    assert "60,000 + 10,000" in source.description
    assert load_dataset("fashion-mnist").source == source.where(None)
    assert SOURCES["drawn-objects"].where(None) == "drawn on demand: no file"


def test_a_folder_a_table_and_a_file_of_arrays_are_loaded(tmp_path: Path, fashion: Splits) -> None:
    folder = write_classes(tmp_path / "my images", fashion.train, 8)
    names = sorted(str(path.relative_to(tmp_path)) for path in folder.rglob("*.*"))
    (tmp_path / "t.CSV").write_text("path,label\n" + "".join(f"{name},{Path(name).parent.name}\n" for name in names))
    np.savez(tmp_path / "a.npz", images=fashion.train.images[:200], labels=fashion.train.labels[:200])
    folded, tabled = load_dataset(str(folder)), load_dataset(str(tmp_path / "t.CSV"))
    assert (folded.name, tabled.name, load_dataset(str(tmp_path / "a.npz")).name) == ("my-images", "t", "a")
    assert folded.train.class_names == ("bag", "boot", "trouser")
    assert folded.test.fingerprint == tabled.test.fingerprint
    again = from_folder(folder, name="mine"), from_table(tmp_path / "t.CSV", path_column="path", root=tmp_path)
    assert [splits.name for splits in again] == ["mine", "t"]
    assert {splits.test.fingerprint for splits in again} == {folded.test.fingerprint}


def test_a_table_is_read_by_the_names_and_the_root_that_are_given(tmp_path: Path, fashion: Splits) -> None:
    folder = write_classes(tmp_path / "far", fashion.train, 8)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    (tmp_path / "t.csv").write_text("Bild,art\n" + "".join(f"{name},{Path(name).parent.name}\n" for name in names))
    found = from_table(tmp_path / "t.csv", path_column="Bild", label_column="art", root=folder, test_fraction=0)
    assert (len(found.train), len(found.test)) == (len(names), 0)


def test_what_is_no_folder_and_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.npz: expected a folder of class folders"):
        from_folder(tmp_path / "a.npz")
    for wrong in ("a.npz", "none.csv"):
        with pytest.raises(DataError, match=rf"{wrong}: expected a file that ends in \.csv, \.tsv, \.parquet"):
            from_table(tmp_path / wrong)


@pytest.mark.parametrize(
    ("path", "name"),
    [("fashion-mnist", "fashion-mnist"), ("./fashion-mnist", "fashion-mnist"), ("/a/my photos (2).csv", "my-photos-2"),
     ("x/été/", "été"), ("..png", "images"), ("a" * 90, "a" * 80)],
)  # fmt: skip
def test_a_path_gives_a_name_fit_for_a_run(path: str, name: str) -> None:
    assert data_name(path) == name
    check_name(f"{name}-1")


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.pdf").write_bytes(b"%PDF")
    with pytest.raises(DataError, match=r"images\.pdf: expected a folder, or a file that ends in \.csv"):
        load_dataset(str(tmp_path / "images.pdf"))
    (tmp_path / "images.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"images\.zip is an archive: unpack it"):
        load_dataset(str(tmp_path / "images.zip"))
    with pytest.raises(DataError, match="a cannot be opened: File name too long"):
        check_data("a" * 300)


def test_a_folder_needs_no_other_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data-dir applies to named data sets only"):
        load_dataset(str(tmp_path), tmp_path)
