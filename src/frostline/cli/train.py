"""`frostline train`."""

from pathlib import Path
from typing import Annotated, Any

from frostline.cli.settings import (
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
    from frostline.cli.console import Screen
    from frostline.cli.tables import show_results
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
