"""`frostline compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.cli.settings import OutputDir

if TYPE_CHECKING:
    from frostline.cli.console import Screen
    from frostline.report.comparison import Comparison


def compare(
    runs: Annotated[list[str], typer.Argument(help="Two runs or more, by name or folder.", show_default=False)],
    *,
    html: Annotated[
        Path | None,
        typer.Option("--html", "--output", help="Write a page as well.", metavar="FILE", show_default=False),
    ] = None,
    output_dir: OutputDir = Path("runs"),
) -> None:
    """Show runs side by side, and test whether they differ by more than chance."""
    from frostline.cli.console import Screen
    from frostline.report.comparison import compare as compare_runs
    from frostline.runs.folder import find_run

    comparison = compare_runs([find_run(name, output_dir) for name in runs])
    _show(Screen(), comparison)
    if html is not None:
        from frostline.report.comparison_page import write_page

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
        changed = [
            [change.name, f"{change.images:,}", f"{change.gained:,}", f"{change.lost:,}", f"{change.net:+,}",
             f"{change.p_adjusted:.3g}"]
            for change in changes
        ]  # fmt: skip
        screen.say("")
        screen.table([f"class, {first} to {second}", "images", "gained", "lost", "net", "corrected p"], changed)
    screen.say("")
    for pair in comparison.pairs:
        screen.say(pair.verdict)
    for line in comparison.caveats:
        screen.say(line)
