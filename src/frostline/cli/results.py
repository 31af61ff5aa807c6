"""`frostline evaluate`, `compare` and `report`: the results of runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli.settings import CacheDir, MovedData, OutputDir, Overwrite, Quiet, RunName, RunNames, Tta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.cli.console import Screen
    from frostline.evaluation.comparison import ClassChange
    from frostline.report.comparison import Comparison

ALL_CLASSES = 30  # up to this many, every class is printed
LISTED_CLASSES = 20  # otherwise
AVERAGED = ("precision", "recall", "f1")


def evaluate(
    run: RunName,
    data: MovedData = None,
    tta: Tta = 1,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Evaluate a finished run again on its validation and test splits."""
    from frostline.cli.console import Screen
    from frostline.runs.folder import Run

    found = Run.load(run, output_dir)
    split = "test" if found.metrics["test"] else "val"
    recorded = found.metrics[split]
    screen = Screen(quiet=quiet)
    with screen.show_log():
        from frostline.inference.classifier import evaluate_run

        results = evaluate_run(found, tta=tta, data=data, cache_dir=cache_dir, progress=screen.progress)
    now, averaged = results[split], f", averaged over {tta} views" if tta > 1 else ""
    screen.print("")
    show_results(screen, results, f"{found.name}: test split{averaged}")
    screen.print(
        "", f"recorded when the run finished: {recorded['accuracy']:.4f}; now{averaged}: {now['accuracy']:.4f}"
    )
    screen.print(f"validation accuracy{averaged}: {results['val']['accuracy']:.4f}")


def show_results(screen: "Screen", results: dict[str, Any], title: str) -> None:
    """Print overall metrics, metrics per class and the most confused pairs of the test split.

    Without a test split, the validation split is shown with a warning.
    """
    from frostline.evaluation.metrics import TOP, most_confused

    split = "test" if results["test"] else "val"
    test, calibration = results[split], results.get("calibration")
    if split == "val":
        title = "validation split"
        screen.print("there is no test split, so accuracy on new images was not measured. Settings were chosen on the")
        screen.print("validation images, so these figures are optimistic:")
    low, high = test["accuracy_ci95"]
    overall = [
        ["accuracy", f"{test['accuracy']:.4f}"],
        ["  95 % interval", f"{low:.4f} - {high:.4f}"],
        ["loss", f"{test['loss']:.4f}"],
        *([["top-5 accuracy", f"{test['top5_accuracy']:.4f}"]] if len(test["per_class"]) > TOP else []),
        *([["balanced accuracy", f"{test['balanced_accuracy']:.4f}"]] if "balanced_accuracy" in test else []),
        ["macro F1", f"{test['f1_macro']:.4f}"],
        ["ECE", f"{test['ece']:.4f}"],
        ["images", f"{test['images']:,}"],
    ]
    if calibration:
        overall.insert(-1, ["  uncalibrated", f"{calibration[split]['ece']['before']:.4f}"])
    screen.table([title, ""], overall)
    screen.print("")
    _print_classes(screen, test["per_class"])
    pairs = most_confused(test["confusion"], list(test["per_class"]))
    if pairs:
        screen.print("")
        screen.table(["most confused: truth", "predicted", "images"], [[a, b, str(n)] for a, b, n in pairs], left=2)


def _print_classes(screen: "Screen", per_class: dict[str, dict[str, float]]) -> None:
    """Print a line for each class; of more than `ALL_CLASSES` only the worst, and the mean."""
    columns = ["class", "precision", "recall", "F1", "images"]
    if len(per_class) <= ALL_CLASSES:
        screen.table(columns, [_class_row(name, metrics) for name, metrics in per_class.items()])
        return
    tested = {name: metrics for name, metrics in per_class.items() if metrics["support"]}
    worst = sorted(tested, key=lambda name: (tested[name]["f1"], -tested[name]["support"], name))[:LISTED_CLASSES]
    mean = {key: sum(metrics[key] for metrics in tested.values()) / len(tested) for key in AVERAGED}
    total = sum(metrics["support"] for metrics in tested.values())
    rows = [_class_row(name, tested[name]) for name in worst]
    rows.append(_class_row(f"mean of {len(tested):,} classes", mean | {"support": total}))
    screen.table(columns, rows, title=f"the {len(worst)} classes with the lowest F1 (metrics.json has all)")


def _class_row(name: str, metrics: dict[str, float]) -> list[str]:
    return [name, *(f"{metrics[key]:.4f}" for key in AVERAGED), f"{metrics['support']:,}"]


def compare(
    runs: RunNames,
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", "--output", help="Also write an HTML page.", metavar="FILE", show_default=False),
    ] = None,
    overwrite: Overwrite = False,
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Compare runs side by side, and test whether their differences are statistically significant."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.report.comparison import compare as compare_runs
    from frostline.runs.folder import Run

    if html is not None:
        check_output(html, overwrite=overwrite)
    comparison = compare_runs([Run.load(name, output_dir) for name in runs])
    screen = Screen()
    _show_comparison(screen, comparison)
    if html is not None:
        from frostline.report.comparison import write_page

        write_page(comparison, html)
        screen.print("", f"wrote {html}")


def _show_comparison(screen: "Screen", comparison: "Comparison") -> None:
    for title, rows in (
        ("settings that differ", comparison.settings),
        ("results", comparison.results),
        ("cost", comparison.costs),
    ):
        screen.table([title, *comparison.names], [[name, *texts] for name, texts in rows] or [["none"]])
        screen.print("")
    pairs = [
        [
            f"{pair.first} - {pair.second}",
            f"{pair.paired.only_first:,}",
            f"{pair.paired.only_second:,}",
            f"{pair.paired.p_value:.3g}",
            f"{pair.paired.p_adjusted:.3g}",
        ]
        for pair in comparison.pairs
    ]
    screen.table(["images correct in", "only the first", "only the second", "McNemar p", "corrected p"], pairs)
    for first, second, changes in comparison.classes:
        shown = most_changed(changes)
        changed = [
            [change.name, f"{change.images:,}", f"{change.gained:,}", f"{change.lost:,}", f"{change.net:+,}",
             f"{change.p_adjusted:.3g}"]
            for change in shown
        ]  # fmt: skip
        screen.print("")
        screen.table([f"class, {first} to {second}", "images", "gained", "lost", "net", "corrected p"], changed)
        if len(shown) < len(changes):
            screen.print(f"the {len(shown)} classes of {len(changes):,} that changed most; --html has all")
    screen.print("", *(pair.verdict for pair in comparison.pairs), *comparison.caveats)


def most_changed(changes: "Sequence[ClassChange]") -> "list[ClassChange]":
    """Return all of few classes; of many, those that lost and gained most, the largest loss first."""
    half = LISTED_CLASSES // 2
    return list(changes) if len(changes) <= ALL_CLASSES else [*changes[:half], *changes[-half:]]


def report(
    run: RunName,
    output: Annotated[
        Path | None, typer.Option(help="Page to write (report.html in the run's folder).", show_default=False)
    ] = None,
    overwrite: Overwrite = False,
    output_dir: OutputDir = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Write an HTML report of a run, from the run's folder alone."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.runs.folder import Run

    if output is not None:
        check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    found = Run.load(run, output_dir)
    with screen.show_log():
        from frostline.report.page import write_report

        write_report(found, output)
