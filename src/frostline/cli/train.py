"""``frostline new`` and ``frostline train``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from frostline._utils.storage import OTHER_OUTPUT
from frostline.cli.settings import (
    DATA_HELP,
    OUTPUT,
    CacheDir,
    ConfigFile,
    Data,
    OutputDir,
    Quiet,
    flag,
    gather,
    option,
    with_settings,
)


@with_settings()
def train(
    data: Data = None,
    *,
    name: Annotated[str | None, option("Name of the run.  [default: DATA-1, DATA-2, …]", "NAME", group=OUTPUT)] = None,
    overwrite: Annotated[bool, flag("--overwrite", "Replace a run of that name.", group=OUTPUT)] = False,
    resume: Annotated[bool, flag("--resume", "Continue a stopped run.", group=OUTPUT)] = False,
    track: Annotated[
        list[str] | None, option("Log to mlflow or tensorboard too (the extra track).", "NAME,…", group=OUTPUT)
    ] = None,
    no_report: Annotated[bool, flag("--no-report", "Do not write report.html at the end.", group=OUTPUT)] = False,
    output_dir: OutputDir = Path("runs"),
    cache_dir: CacheDir = None,
    config: ConfigFile = None,
    quiet: Quiet = False,
    **given: Any,
) -> None:
    """Run the frozen stages over DATA once, train the layers above them, and test the model."""
    from frostline.cli.console import Screen, show_results
    from frostline.errors import RunError

    checked = gather("train", data, config, given)
    screen = Screen(quiet=quiet)
    with screen.lines():
        from frostline.runs.fit import fit

        run = fit(
            checked,
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
    screen.say("")
    show_results(screen, run.metrics, "test split")
    screen.say("", f"run folder: {run.folder}    try: frostline predict {run.name} IMAGE…")
    if not run.finished:
        raise RunError(f"run '{run.name}' did not finish.")


def new(
    data: Annotated[str, typer.Argument(help=DATA_HELP, show_default=False)],
    *,
    output: Annotated[Path, typer.Option(help="File to write.", metavar="TOML")] = Path("config.toml"),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    cache_dir: CacheDir = None,
    quiet: Quiet = False,
) -> None:
    """Look at images and write a configuration for train: each choice, and why."""
    from frostline._utils.storage import check_output, write_bytes
    from frostline.cli.console import Screen
    from frostline.data.registry import load_dataset
    from frostline.errors import ConfigError

    check_output(output, overwrite=overwrite)
    screen = Screen(quiet=quiet)
    with screen.lines():
        splits = load_dataset(data, cache_dir=cache_dir, progress=screen.progress)
        from frostline.studies.suggest import suggest, to_toml

        seen, choices = suggest(splits, data)
    try:
        text = to_toml(seen, choices).encode()
    except UnicodeEncodeError as error:
        raise ConfigError("the path of the images is no UTF-8, which a TOML file must be: rename it.") from error
    check_output(output, overwrite=overwrite)
    write_bytes(output, text, OTHER_OUTPUT)
    for sentence in seen:
        screen.say(sentence)
    screen.say("", f"wrote {output}    try: frostline train --config {output}")
