"""The report of a run: one page that asks no address, from what the run's folder holds; always the same bytes."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.progress import log
from frostline._utils.storage import write_bytes
from frostline._utils.templates import templates
from frostline.evaluation.calibration import reliability, uncalibrated
from frostline.report.charts import curves, diagram
from frostline.report.contents import ReportContents, gather
from frostline.report.embedding_map import draw_map
from frostline.report.figures import figure, write
from frostline.report.galleries import MOST_FILTERS, galleries, matrix, mosaic
from frostline.report.sentences import gap, what_was_trained
from frostline.runs.folder import Run

FILE = "report.html"
TABLE_CLASSES = 30  # more are drawn, not written


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write a run's report, and return where.

    Parameters
    ----------
    run : Run
    path : Path, optional
        ``report.html`` in the run's folder unless it is given.

    Raises
    ------
    StorageError
    """
    path = path or run.folder / FILE
    log.info("report: %s", path)
    write_bytes(path, page(gather(run)).encode(errors="replace"), "--output chooses another place")
    return path


def page(found: ReportContents) -> str:
    """Return the page."""
    environment = templates("frostline.report")
    environment.filters["percent"] = lambda value: write(value, "percent")
    parts = _parts(found) if found.metrics else {}
    again = f"frostline train --config config.toml --name {shlex.quote(found.name + '-again')}"
    return environment.get_template("report.html").render(
        run=found,
        metrics=found.metrics,
        figure=partial(figure, found.metrics),
        again=again,
        **_always(found),
        **dict.fromkeys(PARTS) | parts,
    )


PARTS = ("sentences", "gap", "test", "names", "hardest", "shares", "masks", "galleries", "diagrams", "map")


def _always(found: ReportContents) -> dict[str, Any]:
    """Return what needs no results."""
    kept = found.metrics["training"]["best_epoch"] if found.metrics else 0
    return {
        "curves": curves(found.history, kept) if found.history and not found.solved else [],
        "filters": mosaic(found.filters) if found.filters is not None else None,
        "filters_shown": min(MOST_FILTERS, len(found.filters)) if found.filters is not None else 0,
    }


def _parts(found: ReportContents) -> dict[str, Any]:
    names, test = found.class_names, found.metrics["test"]
    if test is None:  # trained without a test split
        curves_gap = gap(found) if found.history and not found.solved else ""
        return {"sentences": list(what_was_trained(found)), "gap": curves_gap, "names": names}
    counts = np.array(test["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    parts: dict[str, Any] = {
        "sentences": list(what_was_trained(found)),
        "gap": gap(found) if found.history and not found.solved else "",
        "test": test,
        "names": names,
        "hardest": sorted(names, key=lambda name: (test["per_class"][name]["f1"], name)),
        "shares": shares.tolist(),
        "masks": matrix(shares) if len(names) > TABLE_CLASSES else None,
    }
    if found.evidence is None:
        return parts
    parts["galleries"] = galleries(found.evidence, names, found.overlays)
    if "calibration" in found.metrics:
        after, labels = found.evidence.test.pair
        before = uncalibrated(after, found.metrics["calibration"]["temperature"])
        parts["diagrams"] = [
            diagram(reliability(before, labels), "before", "Before"),
            diagram(reliability(after, labels), "after", "After"),
        ]
    if found.index is not None:
        parts["map"] = draw_map(found.index, found.evidence.test, names)
    return parts
