"""Escaping of untrusted text (class names, file names, messages) for its output format.

`printable` for terminals and one-line messages, `csv_text` for CSV that may be opened as a spreadsheet,
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

# What spreadsheets read as a formula, including full-width forms and leading blanks; leading quotes are matched so that
# quoting can be undone.
_FORMULA = re.compile(r"'*(\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n])")
_MARKDOWN = re.compile(r"([\\`*_\[\]()#|~!])")


def printable(text: str) -> str:
    r"""Return text as one line with control characters escaped, e.g. ``\x1b`` or ``\n``.

    Escaped are C0 and C1 controls, DEL, line and paragraph separators, bidirectional overrides and isolates, and the
    lone surrogates that represent bytes of file names that are not UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if c in _BIDI or unicodedata.category(c) in _CONTROL_CATEGORIES else c for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def csv_text(text: str) -> str:
    """Return a cell that a spreadsheet shows as text: formulas are prefixed with ``'``.

    For names and messages, not for numbers. `from_csv_text` undoes it.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def from_csv_text(cell: str) -> str:
    """Undo `csv_text`; other cells are returned unchanged."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def markdown_text(text: str) -> str:
    """Return text for a line or table cell of Markdown, with its HTML and markup escaped."""
    return _MARKDOWN.sub(r"\\\1", html.escape(printable(text), quote=False))


def html_table(title: str, facts: Mapping[str, object]) -> str:
    """Return a small HTML table for a notebook, with a title and a row per fact, all escaped."""

    def escaped(value: object) -> str:
        return html.escape(printable(str(value)))

    rows = "".join(
        f"<tr><th style='text-align: left'>{escaped(name)}</th><td style='text-align: left'>{escaped(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table><caption style='text-align: left'>{escaped(title)}</caption>{rows}</table>"


def few(names: Sequence[str], most: int = 5) -> str:
    """Join names with commas; after the first ``most``, an ellipsis."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


# For every page written as a file: no requests, scripts or forms.
CONTENT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@cache
def templates(package: str) -> "Environment":
    """Return the environment of a package's HTML templates, with ``content_policy`` as a global.

    HTML in values is escaped, and so are control characters except line breaks.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_escape_controls,
    )
    environment.globals["content_policy"] = CONTENT_POLICY
    return environment


def _escape_controls(value: Any) -> Any:
    """Escape control characters in plain text; return `Markup` and other values unchanged."""
    return "\n".join(map(printable, value.split("\n"))) if type(value) is str else value
