"""The report of a run: one self-contained HTML page from the files of the run folder, deterministic."""

import shlex
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from frostline._utils.progress import log
from frostline._utils.storage import OTHER_OUTPUT, write_bytes
from frostline._utils.templates import templates
from frostline.evaluation.calibration import reliability, uncalibrated
from frostline.report.charts import curves, diagram
from frostline.report.contents import ReportContents, gather
from frostline.report.embedding_map import draw_map
from frostline.report.galleries import MOST_FILTERS, galleries, matrix, mosaic
from frostline.report.sentences import describe_run, figure, format_value, gap
from frostline.runs.folder import Run

FILE = "report.html"
TABLE_CLASSES = 30  # a larger confusion matrix is an image


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run, and return its path.

    Parameters
    ----------
    run : Run
    path : Path, optional
        ``report.html`` in the run folder by default.

    Raises
    ------
    StorageError
    """
    path = path or run.folder / FILE
    log.info("report: %s", path)
    write_bytes(path, page(gather(run)).encode(errors="replace"), OTHER_OUTPUT)
    return path


def page(found: ReportContents) -> str:
    """Return the page as HTML."""
    environment = templates("frostline.report")
    environment.filters["percent"] = lambda value: format_value(value, "percent")
    parts = _parts(found) if found.metrics else {}
    again = f"frostline train --config config.toml --name {shlex.quote(found.name + '-again')}"
    return environment.get_template("report.html").render(
        run=found,
        metrics=found.metrics,
        figure=partial(figure, found.metrics),
        again=again,
        **_without_results(found),
        **dict.fromkeys(PARTS) | parts,
    )


PARTS = ("sentences", "gap", "test", "names", "hardest", "shares", "masks", "galleries", "diagrams", "map")


def _without_results(found: ReportContents) -> dict[str, Any]:
    """Return the parts that need no results."""
    best = found.metrics["training"]["best_epoch"] if found.metrics else 0
    return {
        "curves": curves(found.history, best) if found.history and not found.solved else [],
        "filters": mosaic(found.filters) if found.filters is not None else None,
        "filters_shown": min(MOST_FILTERS, len(found.filters)) if found.filters is not None else 0,
    }


def _parts(found: ReportContents) -> dict[str, Any]:
    names, test = found.class_names, found.metrics["test"]
    if test is None:  # trained without a test split
        curves_gap = gap(found) if found.history and not found.solved else ""
        return {"sentences": list(describe_run(found)), "gap": curves_gap, "names": names}
    counts = np.array(test["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    parts: dict[str, Any] = {
        "sentences": list(describe_run(found)),
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
            diagram(reliability(before, labels), "before", "Before temperature scaling"),
            diagram(reliability(after, labels), "after", "After temperature scaling"),
        ]
    if found.index is not None:
        parts["map"] = draw_map(found.index, found.evidence.test, names)
    return parts
