"""Comparison of runs: settings, results and cost side by side, and paired significance tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frostline._utils.storage import write_bytes
from frostline._utils.text import templates
from frostline.errors import FrostlineError, RunError
from frostline.evaluation.comparison import ClassChange, PairedTest, class_changes, compare_pairs
from frostline.evaluation.metrics import TOP
from frostline.pipeline.in_force import in_force_of_run
from frostline.report.charts import VARIABLES, compared_curves, run_style
from frostline.report.galleries import Exhibits, GalleryImage
from frostline.runs.evidence import Evidence, read_evidence
from frostline.runs.folder import Run
from frostline.training.checkpoint import Epoch

LISTED_NAMES = 3  # class names listed in a message
MOST_CHANGED = 24  # images shown of those that one run gains or loses
WIDTH = 100.0  # of the plot of intervals
Row = tuple[str, list[str]]


@dataclass(frozen=True)
class RunPair:
    """Two runs by name, and their paired test."""

    first: str
    second: str
    paired: PairedTest

    @property
    def verdict(self) -> str:
        """The result of the test in one sentence."""
        paired = self.paired
        interval = f"95 % interval {100 * paired.low:+.2f} to {100 * paired.high:+.2f}"
        if paired.only_first == paired.only_second == 0:
            return f"'{self.first}' and '{self.second}' classify the same of all {paired.images:,} images correctly."
        if not paired.significant:
            return (
                f"'{self.second}' minus '{self.first}': {100 * paired.difference:+.2f} points, {interval}: "
                f"no significant difference on {paired.images:,} images."
            )
        better, worse = (self.second, self.first) if paired.difference > 0 else (self.first, self.second)
        low, high = sorted((abs(paired.low), abs(paired.high)))
        return (
            f"'{better}' is better than '{worse}' by {100 * abs(paired.difference):.2f} points, "
            f"95 % interval {100 * low:.2f} to {100 * high:.2f}: significant on {paired.images:,} images."
        )


@dataclass(frozen=True)
class ChangedImage:
    """A test image that exactly one of two runs classifies correctly, with the prediction of each."""

    first: GalleryImage
    second: GalleryImage


@dataclass(frozen=True)
class Change:
    """The images that only one of two runs classifies correctly; ``count`` also has those without a thumbnail."""

    title: str
    count: int
    shown: list[ChangedImage]


@dataclass(frozen=True)
class Comparison:
    """The contents of a comparison; each row has one text per run.

    Attributes
    ----------
    settings, results, costs : list of (name, texts)
        ``settings`` has those that differ.
    pairs : list of RunPair
        All pairs of runs, in order.
    classes : list of (first, second, changes)
        From the first run to each of the others.
    changes : list of Change
        Images that changed sides, from the first run to each of the others.
    histories : dict
        Epochs by run; none of a head fitted in closed form.
    """

    names: list[str]
    images: int
    settings: list[Row]
    results: list[Row]
    costs: list[Row]
    pairs: list[RunPair]
    classes: list[tuple[str, str, list[ClassChange]]]
    changes: list[Change] = field(default_factory=list)
    histories: Mapping[str, Sequence[Epoch]] = field(default_factory=dict)

    @property
    def caveats(self) -> list[str]:
        """Limits of the tests."""
        lines = [
            "The tests compare these trained models on images like the test split, not their settings: with another "
            "seed, the same settings give another model."
        ]
        if len(self.pairs) > 1:
            lines.append(f"p-values are corrected for {len(self.pairs)} comparisons (Holm); the intervals are not.")
        return lines


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare finished runs with the same test images.

    Parameters
    ----------
    runs : sequence of Run
        At least two.

    Raises
    ------
    RunError
        With fewer than two runs or the same run twice, without results or evidence, or if test splits differ.
    """
    _check_runs(runs)
    metrics = [run.metrics for run in runs]
    evidence = _comparable_evidence(runs, metrics)
    names, labels = _names(runs), evidence[0].test.labels
    correct = [found.test.probabilities.argmax(1) == labels for found in evidence]
    pairs = list(combinations(range(len(runs)), 2))
    tests = compare_pairs([(correct[a], correct[b]) for a, b in pairs])
    class_names = list(metrics[0]["test"]["per_class"])
    exhibits = [Exhibits(found, class_names) for found in evidence]
    others = range(1, len(runs))
    return Comparison(
        names,
        len(labels),
        _settings(runs, metrics),
        [(title, [text(results) for results in metrics]) for title, text in _results(len(class_names)).items()],
        [(title, [text(results) for results in metrics]) for title, text in COSTS.items()],
        [RunPair(names[a], names[b], test) for (a, b), test in zip(pairs, tests, strict=True)],
        [(names[0], names[i], class_changes(correct[0], correct[i], labels, class_names)) for i in others],
        [change for i in others for change in _changes(names[0], names[i], exhibits[0], exhibits[i])],
        {name: _history(run, results) for name, run, results in zip(names, runs, metrics, strict=True)},
    )


def _comparable_evidence(runs: Sequence[Run], metrics: Sequence[dict[str, Any]]) -> list[Evidence]:
    """Return the evidence of runs; raise RunError unless they were tested on the same images."""
    for run, results in zip(runs, metrics, strict=True):
        if results["test"] is None:
            raise RunError(f"run '{run.name}' has no test split (--test-fraction 0), so it cannot be compared.")
    evidence = [read_evidence(run) for run in runs]
    for i in range(1, len(runs)):
        difference = _test_difference(metrics[0], metrics[i], evidence[0].test.labels, evidence[i].test.labels)
        if difference:
            raise RunError(
                f"runs '{runs[0].name}' and '{runs[i].name}' were not tested on the same images: {difference}. "
                "Compare runs of one data set with the same test split (same --limit and --data-dir)."
            )
    return evidence


def _changes(first: str, second: str, before: Exhibits, after: Exhibits) -> list[Change]:
    """Return the images that only the second run, and those that only the first run classifies correctly."""
    labels = before.evidence.test.labels
    right, right_after = (exhibits.evidence.test.probabilities.argmax(1) == labels for exhibits in (before, after))
    found = []
    for mask, one, other in ((right_after & ~right, second, first), (right & ~right_after, first, second)):
        positions: list[int] = np.flatnonzero(mask).tolist()
        shown = [image for position in positions if (image := _changed(position, before, after)) is not None]
        found.append(Change(f"Correct in ‘{one}’ only, wrong in ‘{other}’", len(positions), shown[:MOST_CHANGED]))
    return found


def _changed(position: int, before: Exhibits, after: Exhibits) -> ChangedImage | None:
    """Return a test image as both runs see it, with the thumbnail that one of them has; None if neither has one."""
    thumbnail = before.evidence.image(position) or after.evidence.image(position)
    if thumbnail is None:
        return None
    return ChangedImage(before.shown(position, *thumbnail), after.shown(position, *thumbnail))


def _history(run: Run, results: dict[str, Any]) -> list[Epoch]:
    """Return the epochs of a run; none of a head in closed form, or when ``history.csv`` is missing or damaged."""
    if "l2" in results["training"]:
        return []
    try:
        return run.history
    except FrostlineError:
        return []


def _check_runs(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise RunError("compare needs two runs or more: name another one (`frostline runs` lists them).")
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise RunError(f"run '{run.name}' was named twice: name another one.")


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs, or the paths of their folders where names are not unique."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _test_difference(
    first: dict[str, Any], second: dict[str, Any], labels: NDArray[np.int64], other_labels: NDArray[np.int64]
) -> str:
    """Return how the test splits of two runs differ, or an empty string; from their metrics and test labels."""
    classes, others = list(first["test"]["per_class"]), list(second["test"]["per_class"])
    if classes != others:
        only = [[name for name in a if name not in b] for a, b in ((classes, others), (others, classes))]
        parts = [
            f"{which} alone has {', '.join(map(repr, names[:LISTED_NAMES]))}{' and more' * (len(names) > LISTED_NAMES)}"
            for which, names in zip(("the first", "the second"), only, strict=True)
            if names
        ]
        return f"their classes differ ({'; '.join(parts) or 'the same ones in another order'})"
    if len(labels) != len(other_labels):
        return f"{len(labels):,} images against {len(other_labels):,}"
    prints = [metrics.get("data", {}).get("fingerprint", {}).get("test") for metrics in (first, second)]
    if None in prints:
        return "one does not record which images were used (no data.fingerprint in metrics.json; train it again)"
    if prints[0] == prints[1]:
        return ""
    if (labels == other_labels).all():
        return f"{len(labels):,} images each, with the same labels, but the images or their order differ"
    return f"{len(labels):,} images each, but {int((labels != other_labels).sum()):,} labels differ"


def _settings(runs: Sequence[Run], metrics: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the settings and weights that differ; those that are not in force in a run are ``-``."""
    used = [in_force_of_run(run.config, results) for run, results in zip(runs, metrics, strict=True)]
    dumped = [run.config.model_dump(mode="json") for run in runs]
    rows = []
    for name in dumped[0]:
        texts = [_text(settings[name]) for settings in dumped]
        if len(set(texts)) > 1:
            rows.append((name, [text if name in names else "-" for text, names in zip(texts, used, strict=True)]))
    rows.append(("weights used", [str(results["weights"].get("name", "given")) for results in metrics]))
    return [row for row in rows if len(set(row[1])) > 1]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return ", ".join(f"{name}={number:g}" for name, number in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _score(name: str) -> Callable[[dict[str, Any]], str]:
    return lambda metrics: f"{metrics['test'][name]:.4f}"


def _results(classes: int) -> dict[str, Callable[[dict[str, Any]], str]]:
    """Return the results to show, as functions of the metrics; the top-5 accuracy only with more than 5 classes."""
    top = {"top-5 accuracy": _score("top5_accuracy")} if classes > TOP else {}
    return {
        "test accuracy": _score("accuracy"),
        "95 % interval": lambda metrics: "{:.4f} - {:.4f}".format(*metrics["test"]["accuracy_ci95"]),
        "test loss": _score("loss"),
        **top,
        "macro F1": _score("f1_macro"),
        "ECE": _score("ece"),
        "validation accuracy": lambda metrics: f"{metrics['val']['accuracy']:.4f}",
    }


def _epochs(training: dict[str, Any]) -> str:
    closed = "l2" in training
    return "-" if closed else f"{training['epochs']} ({training['best_epoch']})"


COSTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "total seconds": lambda metrics: f"{metrics['total_seconds']:.1f}",
    "  frozen pass": lambda metrics: f"{metrics['frozen_pass']['seconds']:.1f}",
    "  images from the cache": lambda metrics: f"{metrics['frozen_pass']['from_cache']:,}",
    "  training": lambda metrics: f"{metrics['training']['seconds']:.1f}",
    "epochs (best)": lambda metrics: _epochs(metrics["training"]),
    "peak memory, MiB": lambda metrics: f"{metrics['peak_memory_bytes'] / 2**20:,.0f}",
    "trained parameters": lambda metrics: f"{metrics['model']['trainable_parameters']:,}",
    "device": lambda metrics: str(metrics["device"]),
}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write a comparison as a self-contained HTML page."""
    write_bytes(path, page(comparison).encode(errors="replace"), "--html chooses another place")


def page(comparison: Comparison) -> str:
    """Return the page as HTML; the same comparison gives the same text."""
    template = templates("frostline.report").get_template("comparison.html")
    reach = max(max(abs(pair.paired.low), abs(pair.paired.high)) for pair in comparison.pairs)
    trained = {name: history for name, history in comparison.histories.items() if history}
    return template.render(
        c=comparison,
        bars=[_bar(pair, reach) for pair in comparison.pairs],
        reach=f"{100 * reach:.2f}",
        curves=compared_curves(trained) if trained else [],
        legend=[(name, *_legend(number)) for number, name in enumerate(trained)],
        solved=[name for name in comparison.names if name not in trained],
    )


def _legend(number: int) -> tuple[str, str]:
    """Return the color and the dashes of a run's curve for CSS and SVG."""
    color, dashes = run_style(number)
    return VARIABLES[color], "" if dashes == "-" else " ".join(map(str, dashes[1]))


def _bar(pair: RunPair, reach: float) -> dict[str, float]:
    """Return the positions of an interval and its estimate in the plot; no difference is in the middle."""
    values = {"low": pair.paired.low, "middle": pair.paired.difference, "high": pair.paired.high}
    return {name: round(WIDTH / 2 + value / reach * (WIDTH / 2 - 2), 2) for name, value in values.items()}
