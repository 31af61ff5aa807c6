"""Figures on a page that say which entry of metrics.json they are, so that a test can hold them against it."""

import json
from typing import Any

from markupsafe import Markup


def figure(metrics: dict[str, Any], *path: str | int, form: str = ".4f") -> Markup:
    """Return one entry of the metrics as HTML: ``<data>`` with the exact value beside the rounded one.

    Parameters
    ----------
    metrics : dict
    path : str or int
        Keys and positions, from the outside in.
    form : str
        How it is written: a format, ``percent`` (two digits), ``seconds`` or ``bytes``.
    """
    value: Any = metrics
    for key in path:
        value = value[key]
    where = json.dumps(path)
    return Markup('<data data-metric="{}" value="{}">{}</data>').format(where, repr(value), write(value, form))


def write(value: float, form: str) -> str:
    """Return a number as a person reads it."""
    if form == "percent":
        return f"{100 * value:.2f}\u202f%"
    if form == "seconds":
        return duration(value)
    if form == "bytes":
        return f"{value / 2**30:.2f} GiB"
    return format(value, form)


def duration(seconds: float) -> str:
    """Return ``4.2 s``, ``3 min 18 s`` or ``2 h 05 min``."""
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
