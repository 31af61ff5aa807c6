"""``frostline evaluate``, ``compare`` and ``report``: what runs have shown."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.cli.predict import RunName, Tta
from frostline.cli.settings import CacheDir, MovedData, OutputDir, Quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from frostline.cli.console import Screen
    from frostline.evaluation.comparison import ClassChange
    from frostline.report.comparison import Comparison


def evaluate(
    run: RunName,
    data: MovedData = None,
    tta: Tta = 1,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Measure a finished run's model again on its validation and test splits."""
    from frostline.cli.console import Screen, show_results
    from frostline.runs.folder import Run

    found = Run.load(run, output_dir)
    split = "test" if found.metrics["test"] else "val"
    recorded = found.metrics[split]
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.inference.classifier import evaluate_run

        results = evaluate_run(found, tta=tta, data=data, cache_dir=cache_dir, progress=screen.progress)
    now, averaged = results[split], f", averaged over {tta} views" if tta > 1 else ""
    screen.say("")
    show_results(screen, results, f"{found.name}: test split{averaged}")
    screen.say("", f"recorded when the run finished: {recorded['accuracy']:.4f}; now{averaged}: {now['accuracy']:.4f}")
    screen.say(f"validation accuracy{averaged}: {results['val']['accuracy']:.4f}")


ALL_CLASSES = 30  # so many are printed in full
SHOWN_CLASSES = 20  # of more


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more, by name or folder.", show_default=False)],
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", "--output", help="Write a page as well.", metavar="FILE", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Show runs side by side, and test whether they differ by more than chance."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.report.comparison import compare as compare_runs
    from frostline.runs.folder import Run

    if html is not None:
        check_output(html, overwrite=overwrite)
    comparison = compare_runs([Run.load(name, output_dir) for name in runs])
    _show(Screen(), comparison)
    if html is not None:
        from frostline.report.comparison import write_page

        write_page(comparison, html)
        Screen().say("", f"wrote {html}")


def _show(screen: "Screen", comparison: "Comparison") -> None:
    for title, rows in (
        ("settings that differ", comparison.settings),
        ("results", comparison.results),
        ("cost", comparison.costs),
    ):
        screen.table([title, *comparison.names], [[name, *texts] for name, texts in rows] or [["none"]])
        screen.say("")
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
    screen.table(["images right in", "only the first", "only the second", "McNemar p", "corrected"], pairs)
    for first, second, changes in comparison.classes:
        shown = most_changed(changes)
        changed = [
            [change.name, f"{change.images:,}", f"{change.gained:,}", f"{change.lost:,}", f"{change.net:+,}",
             f"{change.p_adjusted:.3g}"]
            for change in shown
        ]  # fmt: skip
        screen.say("")
        screen.table([f"class, {first} to {second}", "images", "gained", "lost", "net", "corrected p"], changed)
        if len(shown) < len(changes):
            screen.say(f"the {len(shown)} classes of {len(changes):,} that changed most; --html has all")
    screen.say("")
    for pair in comparison.pairs:
        screen.say(pair.verdict)
    for line in comparison.caveats:
        screen.say(line)


def most_changed(changes: "Sequence[ClassChange]") -> "list[ClassChange]":
    """Return all of few classes, of many those that lost most and those that gained most; the largest loss first."""
    half = SHOWN_CLASSES // 2
    return list(changes) if len(changes) <= ALL_CLASSES else [*changes[:half], *changes[-half:]]


def report(
    run: RunName,
    output: Annotated[
        Path | None, typer.Option(help="Page to write (report.html in the run's folder).", show_default=False)
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    output_dir: OutputDir = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Write what a run learned as one page to look at, from the run's folder alone."""
    from frostline._utils.storage import check_output
    from frostline.cli.console import Screen
    from frostline.runs.folder import Run

    if output is not None:
        check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    found = Run.load(run, output_dir)
    with screen.lines():
        from frostline.report.page import write_report

        write_report(found, output)
