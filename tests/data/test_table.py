"""Tables of images: column names, paths, splits, and errors with the row."""

from pathlib import Path

import pytest

from frostline.data.listing import Listing, SourceOptions
from frostline.data.table import list_table
from frostline.errors import DataError


def listed(folder: Path, text: str, encoding: str = "utf-8") -> Listing:
    table = folder / "table.csv"
    table.write_text(text, encoding=encoding)
    return list_table(table)


@pytest.mark.parametrize("header", ["path,label", "file,class", "Filename,Label", "image, label", "path,image,class"])
def test_columns_have_several_names(tmp_path: Path, header: str) -> None:
    extra = ",x" if header.count(",") == 2 else ""
    listing = listed(tmp_path, f"{header}\na.png{extra},cat\nb/c.png{extra},dog\n")
    assert listing.paths == (tmp_path / "a.png", tmp_path / "b/c.png")
    assert listing.classes == ("cat", "dog")
    assert listing.splits == (None, None)
    assert listing.source == str(tmp_path / "table.csv")


def test_splits_absolute_paths_and_commas_are_read(tmp_path: Path) -> None:
    listing = listed(tmp_path, 'label,path,split\n"big, red",/a/1.png,train\n7,"x,y.png",Validation\n7,3.png,\n')
    assert listing.paths == (Path("/a/1.png"), tmp_path / "x,y.png", tmp_path / "3.png")
    assert listing.classes == ("big, red", "7", "7")
    assert listing.splits == ("train", "val", None)


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    assert listed(tmp_path, "path,label\na.png,café\n", "utf-8-sig").classes == ("café",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path or file or .* or image: its columns are none; use --path-column for another name"),
        ("photo,label\na.png,cat\n", "no column path or .* or image: its columns are photo, label; use --path-column"),
        ("path,kind\na.png,cat\n", "no column label or class: its columns are path, kind"),
        ("path,label\n", "has no rows: each image needs one"),
        ("path,label\na.png,cat\n,dog\n", "row 2: expected the path of an image, got ''"),
        ("path,label\na.png,cat\nb.png\n", r"row 2 \(b.png\): no label"),
        ("path,label,split\na.png,cat,extra\n", r"row 1 \(a.png\): expected split train, val or test, got 'extra'"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        listed(tmp_path, text)
    assert str(tmp_path / "table.csv") in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_bytes(b"path,label\n\xff\xfe\xfa,cat\n")
    with pytest.raises(DataError, match=r"table\.csv is damaged .*: expected a CSV file in UTF-8: save it as UTF-8"):
        list_table(tmp_path / "table.csv")
    with pytest.raises(DataError, match=r"there is no .*missing\.csv: expected a CSV file"):
        list_table(tmp_path / "missing.csv")


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.png", "b.png"], "label": [3, 4], "split": ["test", None]}), table)
    listing = list_table(table)
    assert (listing.paths, listing.classes) == ((tmp_path / "a.png", tmp_path / "b.png"), ("3", "4"))
    assert listing.splits == ("test", None)
    parquet.write_table(pyarrow.table({"image": [{"bytes": b"x"}], "label": [3]}), table)
    with pytest.raises(DataError, match=r"row 1: expected the path of an image, got \{'bytes'"):
        list_table(table)
    table.write_bytes(table.read_bytes()[:50])
    with pytest.raises(DataError, match=r"table\.parquet is damaged .*: expected a Parquet file"):
        list_table(table)


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        DataError, match=r"reading Parquet needs pyarrow, which is not installed: pip install 'frostline\[parquet\]'\.$"
    ):
        list_table(tmp_path / "table.parquet")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_separator_and_the_byte_order_mark_are_found(tmp_path: Path, delimiter: str, encoding: str) -> None:
    lines = [("path", "label", "note"), ("a b.png", "café", "x, y; z"), ("ü.png", "dog", "")]
    text = "\r\n".join(delimiter.join(f'"{cell}"' if " " in cell else cell for cell in line) for line in lines)
    listing = listed(tmp_path, text + "\r\n\r\n", encoding)
    assert listing.paths == (tmp_path / "a b.png", tmp_path / "ü.png")
    assert listing.classes == ("café", "dog")


def test_the_note_of_excel_about_the_separator_is_heeded(tmp_path: Path) -> None:
    assert listed(tmp_path, "sep=;\npath;label\na,b.png;cat\n").paths == (tmp_path / "a,b.png",)


def test_columns_can_be_named(tmp_path: Path) -> None:
    options = SourceOptions("Bild", "art", "teil", "tier", root=tmp_path / "far")
    (tmp_path / "t.csv").write_text("Bild;art;teil;tier;label\na.png;cat;Training;7;x\nb.png;dog;holdout;;y\n")
    with pytest.raises(DataError, match=r"--root .*far: expected a folder that the paths of .*t\.csv start from"):
        list_table(tmp_path / "t.csv", options)
    (tmp_path / "far").mkdir()
    listing = list_table(tmp_path / "t.csv", options)
    assert listing.paths == (tmp_path / "far/a.png", tmp_path / "far/b.png")
    assert (listing.classes, listing.splits, listing.groups) == (("cat", "dog"), ("train", "test"), ("7", None))
    with pytest.raises(DataError, match=r"no column 'artt' \(--label-column\): its columns are Bild, .*'art'\?"):
        list_table(tmp_path / "t.csv", SourceOptions("Bild", "artt"))


def test_a_column_of_groups_is_found(tmp_path: Path) -> None:
    listing = listed(tmp_path, "path,label,Group\na.png,cat,p1\nb.png,dog,\n")
    assert listing.groups == ("p1", None)
    assert listed(tmp_path, "path,label\na.png,cat\n").groups is None


def test_names_without_ending_and_with_backslashes_are_found(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("img_1.JPG", "img_2.png", "img_2.jpg", "img_2.txt", "v1.5.png", "plain"):
        (tmp_path / "in" / name).touch()
    listing = listed(
        tmp_path, "path,label\nin/img_1,a\nin\\v1.5,b\nin/img_2,c\nin/plain,d\nin/none,e\nin\\img_1.JPG,f\n"
    )
    assert [path.relative_to(tmp_path).as_posix() for path in listing.paths] == [
        "in/img_1.JPG", "in/v1.5.png", "in/plain", "in/none", "in/img_1.JPG"
    ]  # fmt: skip
    assert listing.classes == ("a", "b", "d", "e", "f")
    (bad,) = listing.bad
    assert (bad.path, bad.reason) == (tmp_path / "in/img_2", "may be any of img_2.jpg, img_2.png: add the ending")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\na,b.png,cat\n",
            "row 1: 3 values for 2 columns separated by commas: quote values that contain one",
        ),
        ("path,label,path\na.png,cat,b.png\n", "two columns have the name path: rename one"),
        ("path,label\na\0.png,cat\n", "row 1: expected the path of an image"),
    ],
)
def test_rows_that_could_be_misread_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        listed(tmp_path, text)


def test_what_pandas_writes_for_no_label_is_none(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = tmp_path / "table.parquet"
    parquet.write_table(pyarrow.table({"path": ["a.png", "b.png"], "label": [3.0, float("nan")]}), table)
    with pytest.raises(DataError, match=r"row 2 \(b.png\): no label"):
        list_table(table)
