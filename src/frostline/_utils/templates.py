"""Pages from templates: what comes from data is text, whatever it holds, and a name that does not exist is an error."""

from functools import cache
from typing import TYPE_CHECKING, Any

from frostline._utils.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

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
