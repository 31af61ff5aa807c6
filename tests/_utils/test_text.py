"""Untrusted names escaped for terminals, spreadsheets and Markdown."""

import csv
import io

import pytest

from frostline._utils.text import csv_text, few, from_csv_text, html_table, markdown_text, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name", "plain name"),
        ("Größe 靴 👨‍👩‍👧", "Größe 靴 👨‍👩‍👧"),  # joiners within emoji stay
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\rc\td", "a\\nb\\rc\\td"),
        ("\x07\x7f\x85\x9b", "\\x07\\x7f\\x85\\x9b"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("caf\udce9.png", "caf\\udce9.png"),
        ("\x00", "\\x00"),
    ],
)
def test_control_characters_are_escaped_and_everything_else_stays(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\rx", " =1", "＝1", "'=1", "''-x"],
)
def test_formulas_are_quoted_and_restored(text: str) -> None:
    cell = csv_text(text)
    assert cell == "'" + text
    assert from_csv_text(cell) == text


@pytest.mark.parametrize("text", ["cat", "a=b", "'quoted'", "", "3-4", "O'Hara"])
def test_other_cells_are_unchanged(text: str) -> None:
    assert csv_text(text) == text
    assert from_csv_text(text) == text


def test_a_quoted_cell_survives_a_csv_file() -> None:
    names = ['=HYPERLINK("http://x","y")', "a,b", "'+1"]
    file = io.StringIO()
    csv.writer(file).writerow([csv_text(name) for name in names])
    (row,) = csv.reader(io.StringIO(file.getvalue()))
    assert [from_csv_text(cell) for cell in row] == names


def test_markdown_and_html_in_a_name_are_escaped() -> None:
    assert markdown_text("<script>alert(1)</script>|*a*") == ("&lt;script&gt;alert\\(1\\)&lt;/script&gt;\\|\\*a\\*")
    assert markdown_text("a\nb") == "a\\\\nb"


def test_a_table_for_a_notebook_is_escaped() -> None:
    table = html_table("<b>", {"<script>": "a & b\n", "count": 3})
    assert "<caption style='text-align: left'>&lt;b&gt;</caption>" in table
    assert ">&lt;script&gt;</th>" in table
    assert ">a &amp; b\\n</td>" in table
    assert ">3</td>" in table


def test_of_many_names_the_first_are_listed() -> None:
    assert few(["a", "b"], 2) == "a, b"
    assert few(["a", "b", "c"], 2) == "a, b, …"
