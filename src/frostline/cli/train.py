"""``frostline new`` and ``frostline train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline._utils.storage import OTHER_OUTPUT
from frostline.cli.results import show_results
from frostline.cli.settings import (
    DATA_HELP,
    OUTPUT,
    CacheDir,
    ConfigFile,
    Data,
    OutputDir,
    Overwrite,
    Quiet,
    Verbose,
    flag,
    option,
    read_settings,
    with_settings,
)


@with_settings()
def train(
    data: Data = None,
    *,
    name: Annotated[str | None, option("Name of the run.  [default: DATA-1, DATA-2, …]", "NAME", group=OUTPUT)] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a run of that name.", group=OUTPUT)] = False,
    resume: Annotated[bool, flag("--resume", "Continue an interrupted run.", group=OUTPUT)] = False,
    track: Annotated[
        list[str] | None, option("Log to mlflow or tensorboard (extra: track).", "NAME,…", group=OUTPUT)
    ] = None,
    no_report: Annotated[bool, flag("--no-report", "Do not write report.html at the end.", group=OUTPUT)] = False,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    **options: Any,
) -> None:
    """Run the frozen stages over DATA once, train the layers above them, and evaluate the model."""
    from frostline.cli.console import Screen
    from frostline.errors import RunError

    settings = read_settings("train", data, config, options)
    screen = Screen(quiet=quiet, verbose=verbose)
    with screen.show_log():
        from frostline.runs.fit import fit

        run = fit(
            settings,
            name=name,
            output_dir=output_dir,
            cache_dir=cache_dir,
            overwrite=overwrite,
            resume=resume,
            progress=screen.progress,
            track=track or (),
        )
        if run.finished and not no_report:
            from frostline.report.page import write_report

            write_report(run)
    from frostline.evaluation.summary import summarize

    screen.print("")
    show_results(screen, run.metrics, "test split")
    screen.print("", *summarize(run.metrics))
    screen.print("", f"run folder: {run.folder}    try: frostline predict {run.name} IMAGE…")
    if not run.finished:
        raise RunError(f"run '{run.name}' did not finish.")


def new(
    data: Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)],
    *,
    output: Annotated[Path, typer.Option(help="File to write.", metavar="TOML")] = Path("config.toml"),
    overwrite: Overwrite = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Inspect a data set and write a configuration for train, with a reason for each choice."""
    from frostline._utils.storage import check_output, write_bytes
    from frostline.cli.console import Screen
    from frostline.data.registry import load_dataset
    from frostline.errors import ConfigError

    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.show_log():
        splits = load_dataset(data, cache_dir=cache_dir, progress=screen.progress)
        from frostline.studies.suggest import suggest, to_toml

        findings, choices = suggest(splits, data)
    try:
        text = to_toml(findings, choices).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the path of the images is not valid UTF-8, so it cannot be written to a TOML file: rename it."
        ) from error
    check_output(output, overwrite=overwrite)
    write_bytes(output, text, OTHER_OUTPUT)
    screen.print(*findings, "", f"wrote {output}    try: frostline train --config {output}")
