"""The page that shows a comparison: one file, no request to any address."""

from pathlib import Path

from frostline._utils.storage import write_bytes
from frostline._utils.templates import templates
from frostline.report.comparison import Comparison, RunPair

WIDTH = 100.0  # of the drawing of intervals


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page as HTML.

    Raises
    ------
    StorageError
    """
    write_bytes(path, page(comparison).encode(errors="replace"), "--html chooses another place")


def page(comparison: Comparison) -> str:
    """Return the page; the same comparison gives the same text."""
    template = templates("frostline.report").get_template("comparison.html")
    reach = max(max(abs(pair.paired.low), abs(pair.paired.high)) for pair in comparison.pairs)
    return template.render(
        c=comparison, bars=[_bar(pair, reach) for pair in comparison.pairs], reach=f"{100 * reach:.2f}"
    )


def _bar(pair: RunPair, reach: float) -> dict[str, float]:
    """Return where an interval and its middle are drawn; no difference is half way."""
    values = {"low": pair.paired.low, "middle": pair.paired.difference, "high": pair.paired.high}
    return {name: round(WIDTH / 2 + value / reach * (WIDTH / 2 - 2), 2) for name, value in values.items()}
