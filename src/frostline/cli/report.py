"""`frostline report`."""

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli.predict import RunName
from frostline.cli.settings import OutputDir, Quiet


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
