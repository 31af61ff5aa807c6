"""Text that others wrote (class names, file names, messages), made safe for the place where it is shown.

`printable` for terminals and one-line messages, `csv_text` for CSV that a person may open as a spreadsheet,
`markdown_text` for Markdown, `html_table` for notebooks. Pages are escaped by their templates.
"""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


# Bidirectional overrides and isolates make a line read as something else (CVE-2021-42574).
_BIDI = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))
_CONTROL_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, lone surrogate, line and paragraph separator

# What spreadsheets take for a formula, full-width forms and leading blanks included. Quotes before it are counted in,
# so that quoting can be undone.
_FORMULA = re.compile(r"'*(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
_MARKDOWN = re.compile(r"([\\`*_\[\]()#|~!])")


def printable(text: str) -> str:
    r"""Return text as one line that no terminal obeys: control characters are escaped, e.g. ``\x1b`` or ``\n``.

    Escaped are C0 and C1 controls, DEL, line and paragraph separators, bidirectional overrides and isolates, and the
    lone surrogates that stand for a file name's bytes that are no UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if c in _BIDI or unicodedata.category(c) in _CONTROL_CATEGORIES else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def csv_text(text: str) -> str:
    """Return a cell that a spreadsheet shows as text: ``'`` is put before what it would take for a formula.

    For names and messages, never for our own numbers. `from_csv_text` undoes it.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_csv_text(cell: str) -> str:
    """Return what `csv_text` made the cell from; other cells are returned as they are."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """Return text for a line or table cell of Markdown: neither its HTML nor its marks mean anything."""
    return _MARKDOWN.sub(r"\\\1", html.escape(printable(text), quote=False))


def html_table(title: str, facts: Mapping[str, object]) -> str:
    """Return a small HTML table for a notebook: a title, and a row for each fact; all of it is escaped."""

    def escaped(value: object) -> str:
        return html.escape(printable(str(value)))

    rows = "".join(
        f"<tr><th style='text-align: left'>{escaped(name)}</th><td style='text-align: left'>{escaped(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption style='text-align: left'>{escaped(title)}</caption>{rows}</table>"


def few(names: Sequence[str], most: int = 5) -> str:
    """Return names in a row; of more than ``most`` the first of them, and an ellipsis."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


# Of every page that is written as a file: it asks no address, runs no script and sends nothing.
CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@cache
def templates(package: str) -> "Environment":
    """Return the HTML templates in a package's folder ``templates``, compiled once; they know ``content_policy``.

    In what they are given HTML is escaped, and control characters but for line breaks are made visible.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    environment.globals["content_policy"] = CONTENT_POLICY
    return environment


def _visible(value: Any) -> Any:
    """Return plain text with its control characters escaped; markup of ours, and what is no text, as it is."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str else value
