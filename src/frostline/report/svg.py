"""matplotlib's SVG made part of a page: in the page's colors and letters, always the same bytes."""

import io
import re
from typing import Any

from markupsafe import Markup

# Stand-ins that no chart uses for anything else; the page's light or dark colors take their place.
INK, SOFT, LINE, FIRST, SECOND, MARK = "#010101", "#020202", "#030303", "#040404", "#050505", "#060606"
VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    FIRST: "var(--quiet)",
    SECOND: "var(--accent)",
    MARK: "var(--warm)",
}
STYLE: Any = {  # of matplotlib
    "svg.fonttype": "none",
    "svg.hashsalt": "frostline",
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


def to_svg(figure: Any, name: str, label: str) -> Markup:
    """Return a figure as SVG for a page.

    Parameters
    ----------
    figure : Figure
        Made and filled under ``rc_context(STYLE)``.
    name : str
        Begins its ids, which must be the only ones of that kind on the page.
    label : str
        What a reader who cannot see it is told.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    text = re.sub(r"font: (?:\w+ )*([\d.]+px) [^;\"]*", r"font-size: \1", text)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r"<svg [^>]*viewBox=\"([^\"]+)\"[^>]*>", r'<svg viewBox="\1" role="img" aria-label="{}">', text)
    text = re.sub(r"\n\s*", "\n", text).replace("{}", str(Markup.escape(label)), 1)
    return Markup(text)  # noqa: S704  (matplotlib escapes what it writes)
